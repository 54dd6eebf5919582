"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const make = (tag, kind, ...inside) => { const node = document.createElement(tag); if (kind) node.className = kind; node.append(...inside); return node; };
const byId = id => document.getElementById(id);
const PART = 25;
data.questions.forEach((q, place) => { q.file = place; q.goldSet = new Set(q.gold); });
const label = (q, id) => {
  if (!data.layouts) return `p. ${id + 1}`;
  const numbers = data.numbers[q.doc];
  return numbers ? `p. ${numbers[id]} · part ${id + 1}` : `part ${id + 1}`;
};
const move = q => {
  const [before, after] = q.places, say = place => place || "–";
  return {text: before === after ? `place ${say(after)}` : `${say(before)} → ${say(after)}`, kind: q.gain > 0 ? "up" : q.gain < 0 ? "down" : "same"};
};
const arrow = kind => kind === "up" ? "▲ " : kind === "down" ? "▼ " : "";

const large = byId("large");
large.addEventListener("click", event => { if (event.target === large) large.close(); });
const enlarge = (q, id, note) => {
  const uri = (data.pictures[q.doc] || {})[id], image = large.querySelector("img");
  image.hidden = !uri; if (uri) image.src = uri;
  image.alt = label(q, id);
  large.querySelector(".caption").replaceChildren(make("div", "tag", make("b", "", label(q, id)), ` of ${q.doc}`, q.goldSet.has(id) ? make("span", "star", " ★ relevant") : ""), make("div", "", note || ""));
  large.showModal();
};
const shot = (q, id, caption, note) => {
  const gold = q.goldSet.has(id), uri = (data.pictures[q.doc] || {})[id];
  const button = make("button", gold ? "shot gold" : "shot");
  button.type = "button";
  button.setAttribute("aria-label", `Enlarge ${label(q, id)}${gold ? ", relevant" : ""}`);
  if (uri) { const image = make("img"); image.src = uri; image.alt = label(q, id); image.loading = "lazy"; button.append(image); }
  else button.append(make("span", "blank", label(q, id)));
  button.addEventListener("click", () => enlarge(q, id, note));
  return make("li", "", button, make("div", "tag", make("b", "", label(q, id)), gold ? make("span", "star", " ★") : "", make("br"), caption));
};
const strip = (q, side, other) => {
  const list = make("ol", "strip");
  side.ids.forEach((id, place) => {
    const was = other ? other.ids.indexOf(id) : -1;
    const score = side.scores ? ` · ${side.scores[place]}` : "";
    const caption = other ? `${place + 1}${was < 0 ? ", new" : was === place ? "" : `, was ${was + 1}`}${score}` : `${place + 1}${score}`;
    list.append(shot(q, id, caption, side.notes && side.notes[place]));
  });
  return list;
};
const said = (q, side, name) => {
  const out = [];
  if (side.issues.length) out.push(make("div", "warn", `${name}: ${side.issues.map(issue => data.issues[issue] || issue).join(" ")}`));
  if (side.notes) {
    const list = make("ol", "notes");
    side.ids.forEach((id, place) => { if (side.notes[place]) list.append(make("li", q.goldSet.has(id) ? "gold" : "", make("span", "which", `${place + 1}. ${label(q, id)}${q.goldSet.has(id) ? " ★" : ""}`), make("span", "", side.notes[place]))); });
    out.push(make("h3", "", `What the model says of each page (${name})`), list);
  }
  if (side.reply) out.push(make("details", "", make("summary", "", `All that the model wrote (${name})`), make("pre", "", side.reply)));
  return out;
};
const inside = q => {
  const box = make("div", "inside");
  const seen = new Set([...q.before.ids, ...q.after.ids]), missed = q.gold.filter(id => !seen.has(id));
  box.append(make("h3", "", names.before), strip(q, q.before, null), make("h3", "", names.after), strip(q, q.after, q.before));
  if (missed.length) {
    box.append(make("h3", "", "Relevant, and not among the candidates"));
    const list = make("ol", "strip"); missed.forEach(id => list.append(shot(q, id, "missed", ""))); box.append(list);
  }
  box.append(...said(q, q.before, names.before), ...said(q, q.after, names.after));
  return box;
};
const squares = (q, side) => make("span", "row", ...side.ids.slice(0, 20).map(id => make("i", q.goldSet.has(id) ? "gold" : "")));
const row = q => {
  const {text, kind} = move(q);
  const glance = make("span", "glance", squares(q, q.before), squares(q, q.after), make("span", `chip ${kind}`, arrow(kind) + text));
  glance.title = `relevant pages: ${names.before} above, ${names.after} below`;
  const summary = make("summary", "", make("span", "asked", q.question), make("span", "from", [q.doc, q.domain, q.type].filter(Boolean).join(" · ")), glance);
  const item = make("details", "question", summary);
  item.addEventListener("toggle", () => { if (item.open && item.childElementCount === 1) item.append(inside(q)); });
  return item;
};

const fill = (id, key) => { for (const value of [...new Set(data.questions.map(q => q[key]))].filter(Boolean).sort()) { const option = make("option", "", value); option.value = value; byId(id).append(option); } };
fill("domain", "domain"); fill("type", "type");
const orders = {
  changed: (a, b) => Math.abs(b.gain) - Math.abs(a.gain), gain: (a, b) => b.gain - a.gain, loss: (a, b) => a.gain - b.gain,
  hard: (a, b) => (b.places[1] || 1e6) - (a.places[1] || 1e6), file: () => 0,
};
const outcomes = {
  "": () => true, better: q => q.gain > 0, worse: q => q.gain < 0, same: q => q.gain === 0,
  missed: q => q.gold.some(id => !q.before.ids.includes(id) && !q.after.ids.includes(id)), issues: q => q.after.issues.length + q.before.issues.length > 0,
};
let chosen = [], drawn = 0;
const more = () => { byId("list").append(...chosen.slice(drawn, drawn + PART).map(row)); drawn = Math.min(drawn + PART, chosen.length); byId("more").hidden = drawn >= chosen.length; };
const choose = () => {
  const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const outcome = outcomes[byId("outcome").value], order = orders[byId("order").value];
  chosen = data.questions.filter(q => outcome(q) && ["domain", "type"].every(key => !byId(key).value || q[key] === byId(key).value)
    && words.every(word => `${q.question} ${q.doc}`.toLowerCase().includes(word))).sort((a, b) => order(a, b) || a.file - b.file);
  byId("found").textContent = `${chosen.length} of ${data.questions.length} questions. Squares are candidates in order, ${names.before} above, ${names.after} below; green ones are relevant.`;
  byId("list").replaceChildren(); drawn = 0; more();
};
byId("order").value = start;
byId("more").addEventListener("click", more);
for (const id of ["order", "outcome", "domain", "type"]) byId(id).addEventListener("change", choose);
byId("words").addEventListener("input", choose);
choose();
