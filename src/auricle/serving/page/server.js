// What is asked of the server, and its errors in its own words.

const KEY = "auricle-key";

/** An error that the server, or the way to it, is the reason of. */
export class ServerError extends Error {
  constructor(message, code = null) {
    super(message);
    this.code = code;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

function failure(status, text) {
  try {
    const { message, code } = JSON.parse(text).error;
    return new ServerError(message, code);
  } catch {
    return new ServerError(`The server answered with status ${status}.`);
  }
}

/** A response that is fine; everything else is a ServerError. */
export async function request(path, { body, signal, ...more } = {}) {
  const sent = body === undefined
    ? { headers: headers(more.headers) }
    : { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, { ...sent, signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerError("The server cannot be reached.");
  }
  if (!response.ok) throw failure(response.status, await response.text());
  return response;
}

/** The JSON of a response. */
export const json = async (path, options) => (await request(path, options)).json();

/** Sends a recording. `onSent` is told the share that is sent, 0 to 1. */
export function upload(file, onSent, signal) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file, file.name);
    sending.open("POST", "/v1/recordings");
    for (const [name, value] of Object.entries(headers())) sending.setRequestHeader(name, value);
    sending.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total);
    sending.onload = () => {
      if (sending.status === 200) resolve(JSON.parse(sending.responseText));
      else reject(failure(sending.status, sending.responseText));
    };
    sending.onerror = () => reject(new ServerError("The recording could not be sent: the connection was closed. It may be too large."));
    sending.onabort = () => reject(new DOMException("Cancelled.", "AbortError"));
    signal.addEventListener("abort", () => sending.abort());
    sending.send(form);
  });
}

/** An answer as it comes: `onText` is told each piece; at the end, the object `auricle`. */
export async function ask(body, onText, signal) {
  const response = await request("/v1/chat/completions", { body: { ...body, stream: true }, signal });
  let told = null;
  for await (const event of events(response.body)) {
    if (event.error) throw new ServerError(event.error.message, event.error.code);
    const text = event.choices[0].delta.content;
    if (text) onText(text);
    told = event.auricle ?? told;
  }
  if (!told) throw new ServerError("The answer broke off: the server closed the connection.");
  return told;
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}
