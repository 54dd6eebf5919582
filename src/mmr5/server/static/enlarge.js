/** The dialog that shows one page large; arrow keys walk through the pages in their present order. */

import { element, linkTo, marks, show } from "./cards.js";

const dialog = document.getElementById("large");
const title = document.getElementById("large-title");
const image = document.getElementById("large-picture");
const reason = document.getElementById("large-reason");
const sheet = dialog.querySelector(".sheet");
let open = { lines: [], place: 0 };

/** Show `lines[place]`; `lines` are the pages in the order in which they stand on the screen. */
export function enlarge(lines, place) {
  open = { lines, place };
  if (!dialog.open) dialog.showModal();
  draw();
  sheet.focus();
}

/** Bring the first mark into sight, near the top; a page without marks is shown from its head. */
function scroll() {
  const mark = sheet.querySelector(".marks rect");
  const top = mark ? mark.getBoundingClientRect().top - sheet.firstElementChild.getBoundingClientRect().top : 0;
  sheet.scrollTop = Math.max(0, top - sheet.clientHeight / 4);
}
image.addEventListener("load", scroll);

function draw() {
  const line = open.lines[open.place];
  title.replaceChildren(`Page ${line.page} `, element("span", `of ${line.source}`, "soft"));
  image.alt = `Page ${line.page} of ${line.source}`;
  image.removeAttribute("src");
  show(image, line.image);
  reason.textContent = line.reason ?? "";
  linkTo(document.getElementById("large-original"), line);
  sheet.querySelector(".marks").replaceWith(marks(line));
  sheet.scrollTop = 0;
  for (const button of dialog.querySelectorAll("[data-step]")) {
    button.disabled = !(open.place + Number(button.dataset.step) in open.lines);
  }
}

function step(by) {
  if (!(open.place + by in open.lines)) return;
  open.place += by;
  draw();
}

dialog.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (event.target === dialog || button?.hasAttribute("data-close")) dialog.close();
  else if (button) step(Number(button.dataset.step));
});
dialog.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  step(by);
});
