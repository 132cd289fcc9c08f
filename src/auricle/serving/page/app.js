// The page: what happens when something is dropped, asked, chosen or played.

import { Card, element } from "./cards.js";
import { record } from "./microphone.js";
import { budget, clock, passages } from "./moments.js";
import { Player } from "./player.js";
import { ask, json, key, upload } from "./server.js";
import { Waveform } from "./waveform.js";

const MEMORY = "speech-xl"; // not a pruner: asks a memory, by ratio
const PREFERRED = "searchlight";

const at = (id) => document.getElementById(id);
const waveform = new Waveform(at("waveform").firstElementChild);
const cards = new Map(); // each with what stops it
const similarities = new Map(); // by recording and question
let model = null;
let pruners = new Map();
let chosenRate = null; // by the reader, for all methods
let recording = null;
let player = null;
let place = 0;
let selected = null;
let sending = null; // stops an upload
let finishRecording = null; // stops the microphone

function say(text) {
  at("status").textContent = text;
}

function complain(error) {
  if (error?.name === "AbortError") return;
  at("error").textContent = error?.message ?? "";
  at("error").hidden = !error;
  if (error?.code === "invalid_api_key") askForKey();
}

/** Puts the focus where one goes on. */
function goOn() {
  (recording ? at("question") : at("choose")).focus();
}

function askForKey() {
  at("access").open = true;
  at("key").focus();
}

// The server: its model and methods.

async function connect() {
  complain(null); // not when connected: a recording may have been refused meanwhile
  try {
    model = (await json("/health")).model;
    at("model").textContent = model;
    const { data } = await json("/v1/pruners");
    pruners = new Map(data.map((each) => [each.id, each]));
    const names = [...pruners.keys()].map((id) => element("option", { value: id, textContent: id }));
    const memory = element("option", { value: MEMORY, textContent: `${MEMORY} (memory)` });
    at("method").replaceChildren(...names, memory);
    at("method").value = pruners.has(PREFERRED) ? PREFERRED : names[0].value;
    showMethod();
    if (document.activeElement === at("key")) goOn();
    at("access").open = false;
  } catch (error) {
    complain(error);
  }
}

function showMethod() {
  const name = at("method").value;
  const pruner = pruners.get(name);
  const rate = pruner?.options.pruning_rate;
  at("rate-part").hidden = rate === undefined;
  at("ratio-part").hidden = name !== MEMORY;
  at("ratio").disabled = name !== MEMORY;
  at("method-about").textContent = pruner?.summary ?? "Reads the whole recording once into a short memory, then asks that.";
  if (rate !== undefined) at("rate").value = chosenRate ?? rate ?? 0.6;
  showRate();
}

function showRate() {
  at("rate-shown").textContent = at("rate").value;
  if (recording) at("rate-about").textContent = budget(Number(at("rate").value), recording.duration);
}

// The recording.

async function send(file) {
  sending?.abort();
  const abort = (sending = new AbortController());
  complain(null);
  const steps = { sending: true, about: `Sending ${file.name}` };
  showSending(steps, 0);
  try {
    const sent = await upload(file, (share) => showSending(share < 1 ? steps : { ...steps, about: "The model listens" }, share), abort.signal);
    show(sent, file.name);
  } catch (error) {
    complain(error);
  }
  if (sending !== abort) return; // another file is on its way
  showSending({ sending: false }, 0);
  const refused = !at("error").hidden;
  if (!refused || document.activeElement !== at("key")) goOn();
}

function showSending({ sending: is, about = "" }, share) {
  at("sending").hidden = at("cancel").hidden = !is;
  at("choose").hidden = at("record").hidden = is;
  if (is && document.activeElement === document.body) at("cancel").focus();
  if (at("sending-about").textContent !== about) say(about);
  at("sending-about").textContent = about;
  if (share < 1) at("progress").value = share;
  else at("progress").removeAttribute("value");
  if (!is) sending = null;
}

function show(sent, name) {
  player?.stop();
  recording = sent;
  player = new Player(sent.recording, showPlaying);
  for (const card of [...cards.keys()]) remove(card);
  place = 0;
  const about = `${clock(sent.duration)} long, ${sent.tokens} speech tokens${sent.cached ? ", heard before" : ""}`;
  at("recording-title").textContent = name;
  at("about").textContent = about;
  at("recording").classList.add("ready");
  at("choose").textContent = "Another file";
  at("listening").hidden = at("question-form").hidden = false;
  at("waveform").setAttribute("aria-valuemax", String(Math.round(sent.duration)));
  waveform.show(sent);
  showRate();
  showCard();
  say(`${name}: ${about}.`);
}

async function microphone() {
  const [button, stop] = [at("record"), finishRecording];
  if (button.ariaBusy) return; // the browser still asks whether it may listen
  finishRecording = null;
  try {
    if (stop) {
      clearInterval(Number(button.dataset.timer));
      button.classList.remove("on");
      button.textContent = "Record";
      return await send(await stop());
    }
    button.ariaBusy = "true";
    finishRecording = await record();
    complain(null);
    const start = Date.now();
    const tick = () => (button.textContent = `Stop, ${clock((Date.now() - start) / 1000)}`);
    tick();
    button.dataset.timer = String(setInterval(tick, 500));
    button.classList.add("on");
    say("Recording.");
  } catch (error) {
    complain(error);
  } finally {
    button.ariaBusy = null;
  }
}

// Questions and answers.

function asked() {
  const name = at("method").value;
  const choices = at("choices").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const method = name === MEMORY ? { compression_ratio: Number(at("ratio").value) } : { pruner: name };
  if (pruners.get(name)?.options.pruning_rate !== undefined) method.pruning_rate = Number(at("rate").value);
  return { ...method, question: at("question").value.trim(), choices };
}

async function submit() {
  const about = asked();
  if (!about.question) return at("question").focus();
  const { question, choices, ...method } = about;
  const abort = new AbortController();
  const card = new Card({ ...about, duration: recording.duration }, { onSelect: select, onRemove: remove });
  cards.set(card, abort);
  complain(null);
  at("answers-title").hidden = false;
  at("answers").prepend(card.element);
  select(card);
  say(`Asking by ${card.name}.`);
  const { recording: hash } = recording;
  const content = [{ type: "text", text: question }, { type: "input_audio", input_audio: { recording: hash } }];
  const body = { model, messages: [{ role: "user", content }], ...method };
  if (choices.length) body.choices = choices;
  try {
    card.finish(await ask(body, (text) => card.add(text), abort.signal));
    say(`Answer by ${card.name}: ${card.answer.textContent}`);
    if (card === selected) showCard();
    card.similarity = await similar(hash, question);
    if (card === selected) mark();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (card.told) complain(error);
    else card.fail(error.message);
    if (error.code === "invalid_api_key") askForKey();
  }
}

function similar(hash, question) {
  const name = `${hash} ${question}`;
  if (!similarities.has(name)) {
    const found = json("/v1/similarity", { body: { recording: hash, question } });
    found.catch(() => similarities.delete(name));
    similarities.set(name, found);
  }
  return similarities.get(name);
}

function select(card) {
  if (card === selected) return;
  if (selected) selected.selected = false;
  selected = card;
  if (card) card.selected = true;
  showCard();
}

function remove(card) {
  cards.get(card).abort();
  cards.delete(card);
  const focused = card.element.contains(document.activeElement);
  card.element.remove();
  at("answers-title").hidden = !cards.size;
  if (card === selected) select([...cards.keys()].at(-1) ?? null);
  if (focused) (selected?.select ?? at("question")).focus();
}

function showCard() {
  mark();
  list();
}

/** The selected card on the waveform. */
function mark() {
  waveform.mark(selected?.spans ?? [], selected?.similarity ?? null);
  move(place);
}

/** The selected card's passages. */
function list() {
  const heard = passages(selected?.spans ?? []);
  at("legend").hidden = at("play-kept").hidden = !heard.length;
  at("passages").replaceChildren(...heard.map((passage) => {
    const [start, end] = passage.map((time) => clock(time));
    const button = element("button", { type: "button", className: "plain", textContent: `${start} – ${end}` });
    button.onclick = () => play([passage], button);
    button.onfocus = () => move(passage[0]);
    return element("li", {}, button);
  }));
}

// Places and sound.

function move(seconds) {
  place = Math.min(Math.max(seconds, 0), recording.duration);
  const kept = (selected?.spans ?? []).some(([start, end]) => start <= place && place < end);
  const similarity = waveform.similarityAt(place);
  const parts = [clock(place, 1), kept && "read by the model", similarity !== null && `similarity ${similarity.toFixed(2)}`];
  const text = parts.filter(Boolean).join(", ");
  at("place").textContent = text;
  at("waveform").setAttribute("aria-valuenow", place.toFixed(1));
  at("waveform").setAttribute("aria-valuetext", text);
  waveform.place = place;
}

function under(event) {
  const box = at("waveform").getBoundingClientRect();
  return ((event.clientX - box.left) / box.width) * recording.duration;
}

function playHere() {
  const found = passages(selected?.spans ?? []).find(([start, end]) => start <= place && place <= end);
  play([found ?? [place, recording.duration]]);
}

async function play(spans, button = null) {
  try {
    const done = player.play(spans);
    button?.setAttribute("aria-current", "true");
    await done;
  } catch (error) {
    complain(error);
  }
}

function showPlaying(is) {
  at("stop").disabled = at("pause").disabled = !is;
  at("pause").textContent = "Pause";
  if (!is) at("passages").querySelector("[aria-current]")?.removeAttribute("aria-current");
  if (is) requestAnimationFrame(follow);
  else waveform.playing = null;
}

function follow() {
  if (!player.playing) return;
  waveform.playing = player.place;
  requestAnimationFrame(follow);
}

function keyOnWaveform(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  if (event.key in steps) move(place + steps[event.key]);
  else if (event.key === "Home") move(0);
  else if (event.key === "End") move(recording.duration);
  else if (event.key === "Enter" || event.key === " ") playHere();
  else return;
  event.preventDefault();
}

function listen() {
  at("key").value = key.get();
  at("key").onchange = () => {
    key.set(at("key").value.trim());
    connect();
  };
  at("choose").onclick = () => at("file").click();
  at("file").onchange = () => {
    if (at("file").files.length) send(at("file").files[0]);
    at("file").value = "";
  };
  at("record").onclick = microphone;
  at("cancel").onclick = () => sending?.abort();
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
  at("method").onchange = showMethod;
  at("rate").oninput = () => {
    chosenRate = at("rate").value;
    showRate();
  };
  at("question-form").onsubmit = (event) => {
    event.preventDefault();
    submit();
  };
  at("question").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    at("question-form").requestSubmit();
  };
  at("waveform").onpointermove = (event) => move(under(event));
  at("waveform").onclick = (event) => {
    move(under(event));
    playHere();
  };
  at("waveform").onkeydown = keyOnWaveform;
  at("play-kept").onclick = () => play(passages(selected.spans));
  at("pause").onclick = () => (at("pause").textContent = player.pause() ? "Go on" : "Pause");
  at("stop").onclick = () => player.stop();
  addEventListener("keydown", (event) => event.key === "Escape" && player?.stop());
}

listen();
connect();
