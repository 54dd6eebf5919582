/** The documents that questions are about: dropped, chosen, or the example. */

import * as api from "./api.js";
import { element } from "./cards.js";

const list = document.getElementById("documents");
const suggested = document.getElementById("suggested");
const held = [];

/** Add files, one request each, so that each tells of its own trouble; `failed(error, name)` is called for one that is refused. */
export function addFiles(files, failed) {
  return Promise.all([...files].map((file) => add({ name: file.name, get: () => api.send(file) }, failed)));
}

/** Add the document that comes with mmr5, and the questions that go with it. */
export async function addExample(failed) {
  if (held.some((entry) => entry.example)) return;
  const get = async () => {
    const { file, questions } = await api.example();
    suggest(questions);
    return file;
  };
  await add({ name: "the example", example: true, get }, failed);
}

/** All documents that could be read, once they are: `{id, name, …}` of each; one that could not has told so itself. */
export async function files() {
  const entries = await Promise.all(held.map((entry) => entry.ready.catch(() => null)));
  return [...new Map(entries.filter(Boolean).map((entry) => [entry.file.id, entry.file])).values()];
}

/** Take documents that the server holds, by their ids, in the place of all others; one that it does not hold is an error. */
export async function take(ids) {
  const found = await Promise.all(ids.map((id) => held.find((entry) => entry.file?.id === id)?.file ?? api.held(id)));
  const known = new Map(held.filter((entry) => entry.file).map((entry) => [entry.file.id, entry]));
  held.splice(0, held.length, ...found.map((file) => known.get(file.id) ?? asEntry(file)));
  if (!held.some((entry) => entry.example)) suggest([]);
  draw();
}

function asEntry(file) {
  const entry = { name: file.name, file, get: () => api.held(file.id) };
  entry.ready = Promise.resolve(entry);
  return entry;
}

/** Send everything again: the server has forgotten something. */
export async function renew() {
  for (const entry of held) entry.file = await entry.get();
}

async function add(entry, failed) {
  held.push(entry);
  draw();
  entry.ready = entry.get().then((file) => Object.assign(entry, { file }));
  try {
    await entry.ready;
    entry.name = entry.file.name;
  } catch (error) {
    entry.ready = Promise.resolve(null);
    remove(entry);
    failed(error, entry.name);
  }
  draw();
}

function remove(entry) {
  if (held.includes(entry)) held.splice(held.indexOf(entry), 1);
  if (entry.example) suggest([]);
  draw();
}

function suggest(questions) {
  suggested.hidden = !questions.length;
  const rows = questions.slice(0, 3).map((question) => {
    const row = element("li");
    const button = element("button", question);
    button.type = "button";
    button.addEventListener("click", () => {
      document.getElementById("question").value = question;
      document.getElementById("ask").requestSubmit();
    });
    row.append(button);
    return row;
  });
  suggested.querySelector("ul").replaceChildren(...rows);
}

function draw() {
  document.body.classList.toggle("filled", held.length > 0);
  document.getElementById("choose").textContent = held.length ? "Add a file" : "Choose a file";
  document.getElementById("example").hidden = held.some((entry) => entry.example);
  list.replaceChildren(...held.map((entry) => {
    const row = element("li");
    row.append(element("b", entry.name));
    if (entry.file) {
      const lost = entry.file.problems.length;
      row.append(element("span", `${entry.file.n_pages} ${entry.file.n_pages === 1 ? "page" : "pages"}${lost ? `, ${lost} unreadable` : ""}`));
    } else {
      row.append(element("span", "reading"), element("i", "", "busy-dot"));
    }
    const away = element("button", "✕");
    away.type = "button";
    away.setAttribute("aria-label", `Remove ${entry.name}`);
    away.addEventListener("click", () => {
      remove(entry);
      document.getElementById("choose").focus();
    });
    row.append(away);
    return row;
  }));
}
