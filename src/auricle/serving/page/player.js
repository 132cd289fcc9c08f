// Plays parts of a recording. Only what is heard is fetched, so that hours need no memory.

import { request } from "./server.js";

const BLOCK = 15; // seconds that are fetched at once
const HEAD = 4096; // bytes in which a wav's header ends
const AHEAD = 4; // seconds before the end of what is there, when more is fetched

export class Player {
  #path;
  #wav = null;
  #context = null;
  #abort = null;
  #held = false;
  #sources = [];
  #onChange;

  /** `onChange` is told whether it plays. */
  constructor(recording, onChange) {
    this.#path = `/v1/recordings/${recording}/audio`;
    this.#onChange = onChange;
  }

  get playing() {
    return this.#abort !== null;
  }

  /** Where it plays, in seconds of the recording; null between passages or when nothing is played. */
  get place() {
    const now = this.#context?.currentTime;
    const heard = this.#sources.find(({ at, until }) => at <= now && now < until);
    return heard ? heard.start + now - heard.at : null;
  }

  /** Plays spans one after another; whatever was played before is stopped. */
  async play(spans) {
    this.stop();
    const abort = (this.#abort = new AbortController());
    this.#context ??= new AudioContext();
    this.#onChange(true);
    try {
      await this.#context.resume();
      let at = 0;
      for (const [start, end] of blocks(spans)) {
        const buffer = await this.#fetch(start, end, abort.signal);
        if (abort.signal.aborted) return;
        at = Math.max(at, this.#context.currentTime + 0.05);
        this.#schedule(buffer, at, start);
        at += buffer.duration;
        await this.#reached(at - AHEAD, abort.signal);
      }
      await this.#reached(at, abort.signal);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      if (this.#abort === abort) this.stop();
    }
  }

  /** Holds the sound, or lets it go on; says whether it is held now. */
  pause() {
    this.#held = this.playing && !this.#held;
    if (this.#held) this.#context.suspend();
    else this.#context?.resume();
    return this.#held;
  }

  stop() {
    if (!this.#abort) return;
    this.#abort.abort();
    this.#abort = null;
    this.#held = false;
    for (const { source } of this.#sources) source.stop();
    this.#sources = [];
    this.#onChange(false);
  }

  #schedule(buffer, at, start) {
    const source = new AudioBufferSourceNode(this.#context, { buffer });
    source.connect(this.#context.destination);
    source.start(at);
    this.#sources = this.#sources.filter(({ until }) => until > this.#context.currentTime);
    this.#sources.push({ source, start, at, until: at + buffer.duration });
  }

  async #reached(time, signal) {
    while (!signal.aborted && this.#context.currentTime < time) await new Promise((go) => setTimeout(go, 50));
  }

  async #fetch(start, end, signal) {
    this.#wav ??= header(await this.#bytes(0, HEAD, signal));
    const { data, rate } = this.#wav;
    const [first, last] = [start, end].map((time) => Math.round(time * rate) * 2 + data);
    const bytes = await this.#bytes(first, Math.max(last, first + 2), signal);
    const samples = new Int16Array(bytes, 0, Math.floor(bytes.byteLength / 2));
    const buffer = this.#context.createBuffer(1, Math.max(samples.length, 1), rate);
    buffer.getChannelData(0).set(Float32Array.from(samples, (sample) => sample / 32768));
    return buffer;
  }

  async #bytes(first, end, signal) {
    const response = await request(this.#path, { headers: { Range: `bytes=${first}-${end - 1}` }, signal });
    const bytes = await response.arrayBuffer();
    return response.status === 206 ? bytes : bytes.slice(first, end); // a proxy may not know ranges
  }
}

function* blocks(spans) {
  for (const [start, end] of spans) {
    for (let from = start; from < end; from += BLOCK) yield [from, Math.min(from + BLOCK, end)];
  }
}

function header(bytes) {
  const view = new DataView(bytes);
  let rate = 16000;
  for (let at = 12; at + 8 <= view.byteLength; at += 8 + view.getUint32(at + 4, true)) {
    const name = view.getUint32(at);
    if (name === 0x666d7420) rate = view.getUint32(at + 12, true); // "fmt "
    if (name === 0x64617461) return { data: at + 8, rate }; // "data"
  }
  throw new Error("The server's wav has no samples.");
}
