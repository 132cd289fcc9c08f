// The picture of a recording: its outline, what was kept, how much it resembles the question, and where one is.

import { clock, coverage, smooth } from "./moments.js";

const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const AXIS = 22; // pixels of the times below
const LANE = 0.27; // share of the similarity's height

export class Waveform {
  #canvas;
  #recording = null;
  #spans = [];
  #similarity = null;
  #place = null;
  #playing = null;

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Another recording: `duration` and `peaks`. */
  show(recording) {
    this.#recording = recording;
    this.#place = this.#playing = null;
    this.mark([], null);
  }

  /** What was kept, and the similarity to the question (`times`, `relevance`) or null. */
  mark(spans, similarity) {
    this.#spans = spans;
    this.#similarity = similarity && { times: similarity.times, means: smooth(similarity.relevance, similarity.times) };
    this.draw();
  }

  /** Where the reader is, in seconds, or null. */
  set place(seconds) {
    this.#place = seconds;
    this.draw();
  }

  /** Where it plays, in seconds, or null. */
  set playing(seconds) {
    if (seconds === this.#playing) return;
    this.#playing = seconds;
    this.draw();
  }

  /** The similarity at a time, or null. */
  similarityAt(seconds) {
    if (!this.#similarity) return null;
    const { times, means } = this.#similarity;
    const at = times.findIndex(([, end]) => seconds < end);
    return means.at(at) ?? null;
  }

  draw() {
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    if (!this.#recording || !width) return;
    const scale = devicePixelRatio;
    Object.assign(this.#canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    const pen = this.#canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(this.#canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const ground = height - AXIS;
    const lane = this.#similarity ? Math.round(ground * LANE) : 0;
    this.#bands(pen, colour, width, ground);
    this.#outline(pen, colour, width, ground - lane);
    if (this.#similarity) this.#line(pen, colour, width, ground - lane, lane - 6);
    this.#axis(pen, colour, width, ground);
    for (const [at, name] of [[this.#place, "quiet"], [this.#playing, "accent"]]) {
      if (at === null) continue;
      pen.fillStyle = colour(name);
      pen.fillRect(this.#x(at, width) - 0.75, 0, 1.5, ground);
    }
  }

  #x(seconds, width) {
    return (seconds / this.#recording.duration) * width;
  }

  #bands(pen, colour, width, height) {
    pen.fillStyle = colour("accent");
    const columns = coverage(this.#spans, this.#recording.duration, Math.floor(width));
    columns.forEach((share, column) => {
      if (!share) return;
      pen.globalAlpha = 0.08 + 0.14 * share;
      pen.fillRect(column, 0, 1, height);
    });
    pen.globalAlpha = 1;
  }

  #outline(pen, colour, width, height) {
    const { peaks, duration } = this.#recording;
    const loudest = Math.max(1e-4, ...peaks.map(([low, high]) => Math.max(-low, high)));
    const step = 3;
    const bars = Math.floor(width / step);
    const kept = coverage(this.#spans, duration, bars);
    const middle = height / 2;
    for (let bar = 0; bar < bars; bar++) {
      const [from, to] = [bar, bar + 1].map((each) => Math.floor((each / bars) * peaks.length));
      const part = peaks.slice(from, Math.max(to, from + 1));
      const reach = Math.max(...part.map(([low, high]) => Math.max(-low, high))) / loudest;
      const size = Math.max(1, reach * (middle - 8));
      pen.fillStyle = colour(kept[bar] > 0.25 ? "accent" : "wave");
      pen.beginPath();
      pen.roundRect(bar * step, middle - size, step - 1, 2 * size, 1);
      pen.fill();
    }
  }

  #line(pen, colour, width, top, height) {
    const { times, means } = this.#similarity;
    const [least, most] = [Math.min(0, ...chunked(means, Math.min)), Math.max(1e-6, ...chunked(means, Math.max))];
    pen.strokeStyle = colour("line");
    pen.beginPath();
    pen.moveTo(0, top + 0.5);
    pen.lineTo(width, top + 0.5);
    pen.stroke();
    pen.strokeStyle = colour("ink");
    pen.lineWidth = 1.25;
    pen.lineJoin = "round";
    pen.beginPath();
    times.forEach(([start, end], at) => {
      pen.lineTo(this.#x((start + end) / 2, width), top + 4 + (1 - (means[at] - least) / (most - least)) * height);
    });
    pen.stroke();
  }

  #axis(pen, colour, width, top) {
    const { duration } = this.#recording;
    const step = TICKS.find((each) => (each / duration) * width > 64) ?? TICKS.at(-1);
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillStyle = colour("quiet");
    pen.textBaseline = "middle";
    for (let at = 0; at < duration; at += step) {
      const x = this.#x(at, width);
      pen.textAlign = at ? "center" : "left";
      if (x < width - 20) pen.fillText(clock(at), at ? x : 8, top + AXIS / 2);
    }
  }
}

/** `of` of many values, in parts, because a call has room for some ten thousands only. */
function chunked(values, of) {
  const found = [];
  for (let at = 0; at < values.length; at += 10000) found.push(of(...values.slice(at, at + 10000)));
  return found;
}
