// Panels of the bar: a button opens its own and closes the others; Escape closes it and returns to the button.
import { focusDesktop } from "./typing.js";

const buttons = [...document.querySelectorAll(".desk-bar [aria-controls]")];

function set(button, open) {
  button.setAttribute("aria-expanded", String(open));
  panelOf(button).hidden = !open;
}

function panelOf(button) {
  return document.getElementById(button.getAttribute("aria-controls"));
}

/** Close whatever is open, and give the keyboard back to the desktop. */
export function closePanels() {
  for (const button of buttons) set(button, false);
  focusDesktop();
}

/** Let the button with this name open and close its panel; `opened` is called when it has. */
export function panel(name, opened) {
  const button = document.querySelector(`[data-do="${name}"]`);
  button.addEventListener("click", () => {
    const open = panelOf(button).hidden;
    for (const other of buttons) set(other, false);
    set(button, open);
    if (open) opened(panelOf(button));
  });
  panelOf(button).addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    set(button, false);
    button.focus();
  });
}

document.getElementById("screen").addEventListener("mousedown", () => {
  for (const button of buttons) set(button, false);
}, true);
