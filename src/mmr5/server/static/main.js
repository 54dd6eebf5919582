/** The page: a question goes out, events come in, cards move. */

import * as api from "./api.js";
import { calm, element, fillCard, growReason, makeCard, reorder, sketchCard } from "./cards.js";
import * as collections from "./collections.js";
import * as documents from "./documents.js";
import * as earlier from "./earlier.js";
import { enlarge } from "./enlarge.js";

const $ = (id) => document.getElementById(id);
const [form, question, go, pages] = [$("ask"), $("question"), $("go"), $("pages")];
const ISSUES = {
  NO_ANSWER: "The model gave no answer in the agreed form; pages keep the first stage's order.",
  NO_THINK: "The model gave no reasoning, though it was asked to.",
  DUPLICATE: "The model named a page twice; the first mention counts.",
  OUT_OF_RANGE: "The model named a page that does not exist; it was left out.",
  MISSING: "The model did not name every page; the others follow in first-stage order.",
  TRUNCATED: "The reply was cut off at its token limit.",
  NOT_A_NUMBER: "The answer held something that is no whole number, or a score is no number.",
  LANGUAGE: "The question or a page is in a language that the model was not made for; there it counts by another weight.",
};
const STEP_MS = 90;

let running = null;
let lines = new Map();
let aloud = "";
let several = false;
let orders = { before: [], after: [] };

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, calm() ? 0 : ms); });
const stopped = (signal) => new Promise((_, reject) => { signal.addEventListener("abort", () => reject(signal.reason)); });
const say = (words) => { $("said").textContent = words; };
const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const shownOrder = () => orders[document.querySelector("[name=order]:checked").value];

function fail(error, name = "") {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    if (api.hasKey()) $("key-words").textContent = "The server does not know that key.";
    if (!$("locked").open) $("locked").showModal();
    return;
  }
  const told = element("p");
  const said = name && error.message.startsWith(`${name}: `) ? error.message.slice(name.length + 2) : error.message;
  told.append(element("b", name ? `${name} could not be taken` : "That did not work"), said);
  $("error").append(told);
  $("error").hidden = false;
  if (!(error instanceof api.Refused)) throw error;
}

// Documents

const forgive = () => {
  $("error").hidden = true;
  $("error").replaceChildren();
};
const take = (files) => {
  forgive();
  collections.choose("");
  question.focus();
  return documents.addFiles(files, fail);
};
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  take([...$("file").files]);
  $("file").value = "";
});
$("example").addEventListener("click", () => {
  forgive();
  question.focus();
  documents.addExample(fail);
});
let depth = 0;
const drag = (by) => {
  depth = by ? depth + by : 0;
  document.body.classList.toggle("dragging", depth > 0);
};
addEventListener("dragenter", () => drag(1));
addEventListener("dragleave", () => drag(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  drag(0);
  if (event.dataTransfer.files.length) take(event.dataTransfer.files);
});

// The question

question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!running) form.requestSubmit();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) running.abort();
  if (event.key !== "/" || event.target.closest("textarea, input:not([type=radio]), dialog")) return;
  event.preventDefault();
  question.focus();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else ask();
});

async function ask() {
  const query = question.value.trim();
  forgive();
  if (!query) return;
  running = new AbortController();
  const { signal } = running;
  clear(query);
  try {
    const stored = collections.chosen();
    if (stored) {
      several = true;
      earlier.remember(query, stored, [stored.index, ...(stored.where ? [stored.where] : [])]);
      await api.search(query, stored, signal, hear);
      return;
    }
    const wanted = async () => {
      const files = await Promise.race([documents.files(), stopped(signal)]);
      several = files.length > 1;
      const ids = files.map((file) => file.id);
      if (ids.length) earlier.remember(query, { ids }, files.map((file) => file.name));
      return { ids };
    };
    const about = await wanted();
    if (!about.ids.length) throw new api.Refused(0, "There is no document yet: drop a PDF, choose a file, or take the example.");
    try {
      await api.search(query, about, signal, hear);
    } catch (error) {
      if (error.status !== 404) throw error;
      await documents.renew();
      await api.search(query, await wanted(), signal, hear);
    }
  } catch (error) {
    if (!orders.after.length) $("result").hidden = true;
    document.body.dataset.state = $("result").hidden ? "empty" : "result";
    fail(error);
    if (error.name === "AbortError") say("Stopped.");
  } finally {
    running = null;
    go.textContent = "Ask";
    $("progress").hidden = true;
  }
}

function clear(query) {
  lines = new Map();
  orders = { before: [], after: [] };
  document.body.dataset.state = "busy";
  go.textContent = "Stop";
  for (const step of $("progress").querySelectorAll("li")) {
    step.className = "";
    step.removeAttribute("aria-current");
    step.querySelector("small").textContent = "";
  }
  $("asked").textContent = query;
  $("asked").hidden = true;
  $("facts").textContent = "";
  pages.replaceChildren();
  aloud = "";
  $("thoughts").replaceChildren();
  $("thoughts").removeAttribute("aria-busy");
  $("order").disabled = true;
  for (const id of ["result", "reasoning", "notes"]) $(id).hidden = true;
  $("progress").hidden = false;
}

// What the server tells

async function hear(name, data) {
  await { stage, candidates, thinking, note, page, reasoning, result }[name]?.(data);
}

function stage({ stage: at, done, total }) {
  let passed = true;
  for (const step of $("progress").querySelectorAll("li")) {
    const here = step.dataset.stage === at;
    passed &&= !here;
    step.classList.toggle("done", passed);
    step.toggleAttribute("aria-current", here);
    if (!here) continue;
    step.setAttribute("aria-current", "step");
    const words = done === undefined ? (total === undefined ? "" : count(total, "page")) : `${done} of ${count(total, "page")}`;
    step.querySelector("small").textContent = words;
    if (done === undefined) say(`${step.querySelector("span").textContent}. ${words}`);
  }
}

/** An early answer; it may come twice, by words alone and then by the first stage, and the cards move. */
function candidates({ n_pages: read, ranking, retriever }) {
  lines = new Map(ranking.map((line) => [line.index, line]));
  orders.before = ranking.map((line) => line.index);
  const cards = new Map([...pages.children].map((card) => [Number(card.dataset.index), card]));
  for (const [index, card] of cards) if (!lines.has(index)) card.remove();
  for (const line of ranking) {
    const card = cards.get(line.index) ?? makeCard(line, several, open);
    if (!cards.has(line.index)) pages.append(card);
    sketchCard(card, line, $("asked").textContent);
  }
  reorder(pages, orders.before);
  $("order").querySelector("[value=before]").checked = true;
  $("headline").textContent = retriever === "bm25" ? "A first look, by words alone" : "As the first stage has it";
  $("facts").textContent = `${count(read, "page")} ${collections.chosen() ? "searched" : "read"} · ${count(ranking.length, "candidate")}`;
  $("result").hidden = false;
}

function open(index) {
  const order = shownOrder();
  enlarge(order.map((i) => lines.get(i)), order.indexOf(index));
}

async function page(line) {
  lines.set(line.index, line);
  fillCard(pages.querySelector(`[data-index="${line.index}"]`), line, $("asked").textContent);
  await pause(STEP_MS);
}

/** A piece of the reasoning while it is written; said once, as a voice for each piece would drown all else. */
function thinking({ text }) {
  const thoughts = $("thoughts");
  if (!aloud) say("The model thinks aloud.");
  const atEnd = thoughts.scrollHeight - thoughts.scrollTop - thoughts.clientHeight < 24;
  aloud += text;
  $("reasoning").hidden = false;
  thoughts.setAttribute("aria-busy", "true");
  const [rest, ...paragraphs] = text.split(/\n+/);
  if (rest && !thoughts.lastElementChild) paragraphs.unshift(rest);
  else if (rest) thoughts.lastElementChild.append(rest);
  thoughts.append(...paragraphs.map((part) => element("p", part)));
  if (atEnd) thoughts.scrollTop = thoughts.scrollHeight;
}

/** A piece of the note on a page while it is written; said once for all pages. */
function note({ index, text }) {
  if (!pages.querySelector(".writing")) say("The model writes about the pages.");
  growReason(pages.querySelector(`[data-index="${index}"]`), text);
}

async function reasoning({ reasoning: text }) {
  $("reasoning").hidden = false;
  const told = text.split(/\n+/).filter((part) => part.trim());
  $("thoughts").removeAttribute("aria-busy");
  if (aloud) {
    if (aloud !== text) $("thoughts").replaceChildren(...told.map((part) => element("p", part)));
    return;
  }
  $("thoughts").replaceChildren();
  for (const part of told) {
    const line = element("p", part);
    $("thoughts").append(line);
    if (!calm()) line.animate([{ opacity: 0, transform: "translateY(4px)" }, { opacity: 1, transform: "none" }], 240);
    await pause(Math.min(140, 2000 / told.length));
  }
}

function result(answer) {
  if (answer.reasoning === null) $("reasoning").hidden = true;
  orders.after = answer.ranking.map((line) => line.index);
  $("order").querySelector("[value=after]").checked = true;
  reorder(pages, orders.after);
  document.body.dataset.state = "result";
  const seconds = Object.values(answer.timings_ms).reduce((sum, ms) => sum + ms, 0) / 1000;
  const took = seconds < 10 ? seconds.toFixed(1) : seconds.toFixed(0);
  $("facts").textContent = [
    `${count(answer.n_pages, "page")} ${collections.chosen() ? "searched" : "read"}`, `${count(answer.ranking.length, "candidate")} ranked`, `${answer.model}, ${answer.method}`, `${took} s`,
    ...(answer.ranking.some((line) => line.reason) ? [] : ["this method gives no reasons"]),
  ].join(" · ");
  $("order").disabled = false;
  const notes = [
    ...answer.issues.map((issue) => ISSUES[issue] ?? issue),
    ...answer.problems.map((problem) => `${problem.source}${problem.page ? `, page ${problem.page}` : ""}: ${problem.message}`),
  ];
  $("notes").replaceChildren(...notes.map((note) => element("li", note)));
  $("notes").hidden = !notes.length;
  const best = answer.ranking[0];
  const missing = answer.answerable?.verdict === "no";
  const where = several && best ? ` of ${best.source}` : "";
  const nowhere = `Probably not in ${several ? "these documents" : "this document"}`;
  $("headline").textContent = !best ? "No page was found" : missing ? nowhere : `Page ${best.page}${where} comes first`;
  if (best) say(missing ? "Done. Probably no page answers; the best guesses are shown." : `Done. First is page ${best.page} of ${best.source}.`);
}

question.addEventListener("input", () => { $("asked").hidden = question.value.trim() === $("asked").textContent; });
$("order").addEventListener("change", () => reorder(pages, shownOrder()));

// Who ranks, and the key where one is needed

async function greet() {
  try {
    const about = await api.info();
    await collections.load();
    $("model").textContent = `${about.model} · ${about.method} · reads ${about.view === "both" ? "image and text" : about.view}`;
  } catch (error) {
    fail(error);
  }
}
$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  api.keepKey($("key").value);
  $("key").value = "";
  $("locked").close();
  greet().then(restore);
});

// Questions with an address of their own

async function restore() {
  const said = earlier.asked();
  if (!said) return;
  if (running) running.abort();
  forgive();
  question.value = said.query;
  try {
    if (!collections.choose(said.index, said.where)) throw new api.Refused(0, `This server has no collection ${said.index} any more.`);
    if (!said.index) await documents.take(said.ids);
  } catch (error) {
    fail(error);
    return;
  }
  while (running) await pause(STEP_MS);
  ask();
}
addEventListener("hashchange", restore);
earlier.draw();
greet().then(restore);
