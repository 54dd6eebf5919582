/** The pages of a result: their cards, and how they move. */

import { hasKey, picture } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 0.004;

const KINDS = {
  first_stage: "first-stage score",
  fused: "fused score",
  mean_log_likelihood: "log-likelihood",
  choice_probability: "probability",
  relevance_probability: "relevance",
  relevance_log_odds: "log-odds",
  cross_encoder: "cross-encoder score",
  reciprocal_rank: "1 / rank",
  borda: "Borda share",
};
const SHARES = new Set(["choice_probability", "relevance_probability", "borda"]);
const COMMON = new Set("about after and are been between did does for from had has have how into many much not the that their then there this was were what when where which who whom whose why will with".split(" "));
const SCRIPTS = ["Han", "Hiragana", "Katakana", "Hangul", "Thai", "Lao", "Khmer", "Myanmar"].map((name) => `\\p{Script=${name}}`).join("") + "ー";
const RUN = new RegExp(`^[${SCRIPTS}]`, "u");
const PIECE = new RegExp(`([${SCRIPTS}]+|(?:(?![${SCRIPTS}])[\\p{L}\\p{N}\\p{M}])+)`, "u");
const still = matchMedia("(prefers-reduced-motion: reduce)");

export const calm = () => still.matches;

/** An element with text. */
export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Set an image's picture; one that cannot be had leaves its alternative text. */
export async function show(image, address) {
  image.dataset.address = address;
  const source = await picture(address).catch(() => address);
  if (image.dataset.address === address) image.src = source;
}

/** A card for a page as the first stage has it. */
export function makeCard(line, several, enlarge) {
  const card = document.getElementById("card").content.firstElementChild.cloneNode(true);
  card.dataset.index = line.index;
  card.classList.add("waiting");
  const title = card.querySelector("h3");
  const label = line.page_label && line.page_label !== String(line.page) ? ` (${line.page_label})` : "";
  title.textContent = `Page ${line.page}${label}`;
  if (several) title.append(" ", element("small", line.source));
  linkTo(card.querySelector(".original"), line);
  card.querySelector(".more").addEventListener("click", () => unfold(card, !card.classList.contains("whole")));
  const thumb = card.querySelector(".thumb");
  thumb.setAttribute("aria-label", `Enlarge page ${line.page}${several ? ` of ${line.source}` : ""}`);
  thumb.addEventListener("click", () => enlarge(line.index));
  show(thumb.querySelector("img"), line.thumbnail);
  card.querySelector(".rank").textContent = line.rank;
  card.querySelector(".reason").textContent = "waiting for the model";
  return card;
}

/** What an early stage says of a page that the model has not read yet. */
export function sketchCard(card, line, query) {
  card.querySelector(".rank").textContent = line.rank;
  quote(card, line, query);
  figures(card, [["first-stage score", line.first_stage_score, null]]);
}

/** The passages of a page, marked in the text and on its picture. */
function quote(card, line, query) {
  const evidence = card.querySelector(".evidence");
  evidence.hidden = !line.evidence;
  evidence.replaceChildren(...marked(line.evidence ?? "", query));
  card.querySelector(".marks").replaceWith(marks(line));
  unfold(card, false);
}

/** Show all of the evidence, or its beginning; the button is there where something is cut. */
function unfold(card, whole) {
  const more = card.querySelector(".more");
  card.classList.toggle("whole", whole);
  more.textContent = whole ? "Show less" : "Show all";
  more.setAttribute("aria-expanded", String(whole));
  const evidence = card.querySelector(".evidence");
  if (!whole) requestAnimationFrame(() => { more.hidden = evidence.scrollHeight <= evidence.clientHeight + 1; });
}
addEventListener("resize", () => document.querySelectorAll(".card:not(.whole)").forEach((card) => unfold(card, false)));

/** Marks over the picture of a page where its evidence stands. */
export function marks(line) {
  const layer = document.createElementNS(SVG, "svg");
  layer.setAttribute("class", "marks");
  layer.setAttribute("viewBox", "0 0 1000 1000");
  layer.setAttribute("preserveAspectRatio", "none");
  layer.setAttribute("aria-hidden", "true");
  for (const [x0, y0, x1, y1] of (line.evidence_passages ?? []).flatMap((passage) => passage.boxes)) {
    const mark = document.createElementNS(SVG, "rect");
    const sizes = { x: x0 - MARGIN, y: y0 - MARGIN, width: x1 - x0 + 2 * MARGIN, height: y1 - y0 + 2 * MARGIN };
    for (const [name, share] of Object.entries(sizes)) mark.setAttribute(name, (1000 * share).toFixed(1));
    layer.append(mark);
  }
  return layer;
}

/** Let a link open the PDF at the page; where keys are set, a copy of it in this tab. */
export function linkTo(link, line) {
  link.hidden = !line.document;
  link.onclick = null;
  if (!line.document) return;
  link.href = line.document;
  link.setAttribute("aria-label", `Open ${line.source} at page ${line.page}`);
  link.onclick = async (event) => {
    if (!hasKey()) return;
    event.preventDefault();
    const [address, place] = line.document.split("#");
    open(`${await picture(address)}#${place}`, "_blank");
  };
}

/** Add a piece of the note that is being written on a page; what counts comes with the result. */
export function growReason(card, text) {
  const reason = card.querySelector(".reason");
  if (card.classList.replace("waiting", "writing")) reason.textContent = "";
  reason.setAttribute("aria-busy", "true");
  reason.append(text);
}

/** Fill a card with what the model found. */
export function fillCard(card, line, query) {
  card.classList.remove("waiting", "writing");
  const reason = card.querySelector(".reason");
  reason.removeAttribute("aria-busy");
  reason.textContent = line.reason ?? "";
  reason.hidden = !line.reason;
  quote(card, line, query);
  const moved = card.querySelector(".moved");
  const gained = line.first_stage_rank === null ? 0 : line.first_stage_rank - line.rank;
  moved.classList.toggle("up", gained > 0);
  moved.classList.toggle("down", gained < 0);
  const way = gained > 0 ? `up ${gained}` : gained < 0 ? `down ${-gained}` : "stays";
  moved.textContent = `${gained > 0 ? "▲ " : gained < 0 ? "▼ " : ""}${way}`;
  moved.title = `Rank ${line.first_stage_rank} before, ${line.rank} after`;
  figures(card, [
    ["before", line.first_stage_rank, null],
    ["after", line.rank, null],
    ["relevance", percent(line.relevance), line.relevance],
    [KINDS[line.score_kind] ?? "score", line.score, SHARES.has(line.score_kind) ? line.score : null],
    ["first-stage score", line.first_stage_score, null],
  ]);
}

const percent = (share) => (share === null || share === undefined ? null : `${Math.round(100 * share)} %`);

function figures(card, entries) {
  const rows = entries
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value, share]) => {
      const row = element("div");
      const shown = typeof value === "string" || Number.isInteger(value) ? String(value) : value.toFixed(3);
      row.append(element("dt", name), element("dd", shown));
      if (share !== null) {
        const meter = element("meter");
        meter.value = share;
        meter.setAttribute("aria-hidden", "true");
        row.append(meter);
      }
      return row;
    });
  card.querySelector(".figures").replaceChildren(...rows);
}

/** The text as nodes, with the question's words marked; where words have no spaces between them, pairs of characters. */
export function marked(text, query) {
  const asked = query.split(PIECE).filter((_, i) => i % 2);
  const words = asked.filter((word) => !RUN.test(word) && word.length > 2 && !COMMON.has(word.toLowerCase()));
  const [stems, pairs] = [new Set(words.map(stem)), new Set(asked.filter((run) => RUN.test(run)).flatMap(pairsOf))];
  return text.split(PIECE).flatMap((part, i) => {
    if (i % 2 === 0) return part;
    if (RUN.test(part)) return markedRun([...part], pairs);
    return stems.has(stem(part)) ? element("mark", part) : part;
  });
}

const stem = (word) => word.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/(?:es|s|ed|ing)$/, "");
const pairsOf = (run) => [...run].slice(1).map((character, i) => [...run][i] + character);

function markedRun(characters, pairs) {
  const hit = (i) => pairs.has(characters[i - 1] + characters[i]);
  const nodes = [];
  let [start, now] = [0, false];
  characters.forEach((_, i) => {
    const marks = hit(i) || hit(i + 1);
    if (i > 0 && marks !== now) {
      nodes.push(now ? element("mark", characters.slice(start, i).join("")) : characters.slice(start, i).join(""));
      start = i;
    }
    now = marks;
  });
  const rest = characters.slice(start).join("");
  return [...nodes, now ? element("mark", rest) : rest];
}

/** Put cards into an order; each glides from where it was to where it belongs. */
export function reorder(list, indices) {
  const cards = new Map([...list.children].map((card) => [Number(card.dataset.index), card]));
  const before = new Map([...cards].map(([index, card]) => [index, card.getBoundingClientRect()]));
  const focused = document.activeElement;
  const wanted = indices.map((index) => cards.get(index));
  list.append(...wanted);
  if (focused && list.contains(focused)) focused.focus({ preventScroll: true });
  wanted.forEach((card, place) => {
    card.querySelector(".rank").textContent = place + 1;
    card.classList.toggle("first", place === 0);
  });
  if (calm()) return;
  wanted.forEach((card, place) => {
    const [was, is] = [before.get(Number(card.dataset.index)), card.getBoundingClientRect()];
    const [x, y] = [was.left - is.left, was.top - is.top];
    if (!x && !y) return;
    card.style.zIndex = y > 0 ? 2 : 1;
    const timing = { duration: 560, delay: Math.min(place, 8) * 30, easing: "cubic-bezier(.22,.8,.2,1)", fill: "backwards" };
    const glide = card.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], timing);
    glide.onfinish = () => { card.style.zIndex = ""; };
  });
}
