/** Questions that were asked before: kept in this browser, each with an address of its own. */

import { element } from "./cards.js";

const KEY = "mmr5-earlier";
const MOST = 50;
const box = document.getElementById("earlier");

/** The address of a question about documents that the server holds, or a collection; it stays in the browser and is not sent. */
export function address(query, { ids = [], index = "", where = "" }) {
  const place = [["index", index], ["where", where]].filter(([, value]) => value);
  return `#${new URLSearchParams([["q", query], ...ids.map((id) => ["file", id]), ...place])}`;
}

/** The question that the address names: `{query, ids, index, where}`, or null. */
export function asked() {
  const said = new URLSearchParams(location.hash.slice(1));
  const given = { ids: said.getAll("file"), index: said.get("index") ?? "", where: said.get("where") ?? "" };
  return said.get("q") ? { query: said.get("q"), ...given } : null;
}

/** Keep a question, the newest first, and give the page its address; `names` are shown beside it. */
export function remember(query, about, names) {
  const place = address(query, about);
  if (location.hash !== place) history.pushState(null, "", place);
  const entry = { place, query, names };
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
