/** Questions that were asked before: kept in this browser, each with an address of its own. */

import { element } from "./cards.js";

const KEY = "mmr5-earlier";
const MOST = 50;
const box = document.getElementById("earlier");

/** The address of a question about documents that the server holds; it stays in the browser and is not sent. */
export const address = (query, ids) => `#${new URLSearchParams([["q", query], ...ids.map((id) => ["file", id])])}`;

/** The question that the address names: `{query, ids}`, or null. */
export function asked() {
  const said = new URLSearchParams(location.hash.slice(1));
  return said.get("q") ? { query: said.get("q"), ids: said.getAll("file") } : null;
}

/** Keep a question, the newest first, and give the page its address. */
export function remember(query, files) {
  const place = address(query, files.map((file) => file.id));
  if (location.hash !== place) history.pushState(null, "", place);
  const entry = { place, query, names: files.map((file) => file.name) };
  keep([entry, ...kept().filter((other) => other.place !== place)].slice(0, MOST));
  draw();
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

function keep(entries) {
  try {
    localStorage.setItem(KEY, JSON.stringify(entries));
  } catch {
    // a browser that keeps nothing still answers
  }
}

/** Show the questions that are kept. */
export function draw() {
  const entries = kept();
  box.hidden = !entries.length;
  box.querySelector("ol").replaceChildren(...entries.map(({ place, query, names }) => {
    const row = element("li");
    const link = element("a", query);
    link.href = place;
    link.append(" ", element("small", names.join(", ")));
    row.append(link);
    return row;
  }));
}

document.getElementById("forget").addEventListener("click", () => {
  keep([]);
  draw();
  document.getElementById("question").focus();
});
