/** What the page says to the server. Nothing here touches the document. */

const KEY = "mmr5-key";
const BROKEN = "The connection broke before the answer was whole. Ask again.";
const pictures = new Map();

/** A refusal: `status` of HTTP (0 when the server was not reached) and the server's own words. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const keepKey = (key) => sessionStorage.setItem(KEY, key);
const headers = () => (sessionStorage.getItem(KEY) ? { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` } : {});

/** A successful response; otherwise throws Refused (or the AbortError of a stopped request). */
async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers() });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. Is it still running?");
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new Refused(response.status, body.message || `The server answered ${response.status}.`);
  }
  return response;
}

export const held = async (id) => (await call(`v1/files/${id}`)).json();
export const info = async () => (await call("info")).json();
export const example = async () => (await call("v1/example")).json();

export const indexes = async () => (await call("v1/indexes")).json();

/** Send one file; gives `{id, name, n_pages, pages, problems}`. */
export async function send(file) {
  const form = new FormData();
  form.append("files", file);
  return (await (await call("v1/files", { method: "POST", body: form })).json()).files[0];
}

/** Ask about files, or about a stored collection `{index, where}`; `tell(name, data)` is called with each event as it comes. */
export async function search(query, { ids = [], index = "", where = "" }, signal, tell) {
  const form = new FormData();
  form.append("query", query);
  form.append("stream", "true");
  for (const id of ids) form.append("file_ids", id);
  if (index) form.append("index", index);
  if (index && where) form.append("where", where);
  const response = await call("v1/search", { method: "POST", body: form, signal });
  let ended = false;
  for await (const { name, data } of events(response.body)) {
    if (name === "error") throw new Refused(data.error.code, data.message);
    ended ||= name === "done";
    await tell(name, data);
  }
  if (!ended) throw new Refused(0, BROKEN);
}

/** The events of a stream; comments that keep it alive are passed over. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Refused(0, BROKEN);
    });
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block);
      const data = /^data: (.*)$/m.exec(block);
      if (name && data) yield { name: name[1], data: JSON.parse(data[1]) };
    }
  }
}

/** Where a picture or document can be shown from: its address, or where keys are set a copy in this tab. */
export async function picture(address) {
  if (!headers().Authorization) return address;
  if (!pictures.has(address)) {
    pictures.set(address, call(address).then((response) => response.blob()).then((blob) => URL.createObjectURL(blob)));
  }
  return pictures.get(address);
}
