/** The stored collections of the server: one of them can be asked in the place of documents. */

import * as api from "./api.js";
import { element } from "./cards.js";

const box = document.getElementById("collections");
const filter = document.getElementById("where");
let known = [];

/** Ask the server for its collections and show them, the documents of this tab first. */
export async function load() {
  known = (await api.indexes()).indexes;
  const before = chosen()?.index ?? "";
  const rows = [["", "Documents", "yours"], ...known.map((one) => [one.name, one.name, `${one.pages.toLocaleString("en")} pages`])];
  box.querySelector("div").replaceChildren(...rows.map(([name, words, size]) => {
    const label = element("label");
    const button = element("input");
    [button.type, button.name, button.value, button.checked] = ["radio", "place", name, name === before];
    const shown = element("span", `${words} `);
    shown.append(element("small", size));
    label.append(button, shown);
    return label;
  }));
  box.hidden = !known.length;
  draw();
}

/** The collection that is asked: `{index, where}`, or null for documents. */
export function chosen() {
  const index = box.querySelector("input:checked")?.value;
  return index ? { index, where: filter.value.trim() } : null;
}

/** Take a collection by name, "" for documents; false where the server has none of that name. */
export function choose(index, where = "") {
  const button = [...box.querySelectorAll("input")].find((one) => one.value === index);
  if (!button) return !index;
  button.checked = true;
  filter.value = where;
  draw();
  return true;
}

function draw() {
  document.body.classList.toggle("stored", chosen() !== null);
  document.getElementById("question").placeholder = chosen() ? "Ask about these documents" : "Ask about the document";
}

box.addEventListener("change", draw);
