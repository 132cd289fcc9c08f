// An answer as a card. Whatever was asked or answered is set as text, never as HTML.

import { budget } from "./moments.js";

const STEPS = ["encode", "prune", "prefill", "decode"];
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** An element with properties and children; strings become text. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** How a method is called on the page. */
export function title({ pruner, pruning_rate: rate, compression_ratio: ratio }) {
  if (ratio != null) return `speech-xl, ${ratio} to 1`;
  return rate == null ? pruner : `${pruner}, rate ${rate}`;
}

export class Card {
  told = null;
  similarity = null;

  /** `asked` is the request's method, with `question`, `choices` and the recording's `duration`. */
  constructor(asked, { onSelect, onRemove }) {
    this.asked = asked;
    this.name = title(asked);
    this.select = element("button", { type: "button", textContent: this.name, onclick: () => onSelect(this) });
    this.select.setAttribute("aria-pressed", "false");
    const remove = element("button", { type: "button", className: "plain remove", textContent: "×" });
    remove.setAttribute("aria-label", `Remove the answer of ${this.name}`);
    remove.onclick = (event) => {
      event.stopPropagation();
      onRemove(this);
    };
    this.answer = element("p", { className: "answer waiting" });
    this.element = element(
      "article",
      { onclick: () => onSelect(this) },
      element("div", { className: "head" }, element("h3", {}, this.select), remove),
      element("p", { className: "quiet asked", textContent: asked.question }),
      this.answer,
    );
  }

  get spans() {
    return this.told?.kept_spans ?? [];
  }

  set selected(is) {
    this.element.classList.toggle("selected", is);
    this.select.setAttribute("aria-pressed", String(is));
  }

  add(text) {
    this.answer.textContent += text;
  }

  /** The answer is complete. */
  finish(told) {
    this.told = told;
    this.answer.classList.remove("waiting");
    if (!this.answer.textContent) this.answer.textContent = "(The model says nothing.)";
    if (told.scores) this.element.append(scores(told, this.asked.choices));
    this.element.append(tokens(told, this.asked.duration));
    if (told.kv_bytes) this.element.append(memory(told));
    this.element.append(seconds(told));
  }

  fail(message) {
    this.answer.classList.remove("waiting");
    this.element.append(element("p", { className: "error", role: "alert", textContent: message }));
  }
}

function bar(from, to, className = "") {
  const filled = element("span");
  filled.style.left = `${from * 100}%`;
  filled.style.width = `${(to - from) * 100}%`;
  return element("div", { className: `bar ${className}` }, filled);
}

function scores(told, choices) {
  const values = Object.values(told.scores);
  const [least, most] = [Math.min(0, ...values), Math.max(0, ...values)];
  const place = (score) => (score - least) / (most - least || 1);
  const items = choices.map((choice, at) => {
    const letter = LETTERS[at];
    const score = told.scores[letter];
    const [from, to] = [place(0), place(score)].sort((one, other) => one - other);
    return element(
      "li",
      { className: letter === told.choice ? "chosen" : "" },
      element("div", { className: "said" }, element("span", { textContent: choice }), score.toFixed(1)),
      bar(from, to),
    );
  });
  const list = element("ul", { className: "scores", title: "The higher, the likelier; in nats" }, ...items);
  list.setAttribute("aria-label", "Score of each choice, in nats");
  return list;
}

function figure(what, value) {
  return element("div", { className: "figure" }, element("span", { textContent: what }), element("span", { textContent: value }));
}

function tokens({ tokens: { audio, kept }, pruning_rate: rate }, duration) {
  const share = audio ? kept / audio : 0;
  const percent = share > 0 && share < 0.01 ? "under 1" : Math.round(share * 100);
  const shown = element("div", { className: "tokens" }, figure(`${kept} of ${audio} speech tokens`, `${percent} %`), bar(0, Math.min(share, 1), "kept"));
  if (rate != null) shown.append(element("p", { className: "quiet", textContent: budget(rate, duration) }));
  return shown;
}

function memory({ kv_bytes: bytes }) {
  return figure("Memory in the LLM", `${Number((bytes / 1e6).toPrecision(3))} MB`);
}

function seconds({ seconds: spent, cached }) {
  const total = STEPS.reduce((sum, step) => sum + spent[step], 0);
  const steps = STEPS.map((step) => element("li", {}, step, element("br"), spent[step].toFixed(2)));
  return element(
    "div",
    { className: "seconds" },
    figure(cached ? "Seconds, heard before" : "Seconds", total.toFixed(1)),
    element("ul", { className: "steps" }, ...steps),
  );
}
