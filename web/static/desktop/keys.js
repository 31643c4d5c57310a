// Keys that browsers and operating systems keep for themselves: sent from a panel, held down for the next ones, and
// in full screen taken from the keyboard itself where the browser gives them (Keyboard Lock).
import { closePanels, panel } from "./panels.js";
import { focusDesktop } from "./typing.js";

const section = document.getElementById("keys");
const KEYSYMS = {
  ControlLeft: 0xffe3, AltLeft: 0xffe9, MetaLeft: 0xffeb, Tab: 0xff09, Escape: 0xff1b, Delete: 0xffff, F4: 0xffc1,
  F11: 0xffc8, PrintScreen: 0xff61, KeyW: 0x77, KeyT: 0x74, KeyN: 0x6e,
};

let desktop = () => null;

function held() {
  return [...section.querySelectorAll('[data-hold][aria-pressed="true"]')];
}

function release(button) {
  button.setAttribute("aria-pressed", "false");
  send(button.dataset.hold, false);
}

function send(code, pressed) {
  desktop()?.sendKey(KEYSYMS[code], code, pressed);
}

/** Press keys together: "ControlLeft KeyW". */
function press(chord) {
  const codes = chord.split(" ");
  for (const code of codes) send(code, true);
  for (const code of codes.reverse()) send(code, false);
}

function hold(button) {
  if (button.getAttribute("aria-pressed") === "true") return release(button);
  button.setAttribute("aria-pressed", "true");
  return send(button.dataset.hold, true);
}

/** Let go of what is held: a new connection knows nothing of it. */
export function letGo() {
  for (const button of held()) release(button);
}

async function toggleFullScreen() {
  if (document.fullscreenElement) return document.exitFullscreen();
  await document.documentElement.requestFullscreen();
  focusDesktop();
  return navigator.keyboard?.lock?.();
}

/** Begin. `rfb` gives the connection of the moment. */
export function offerKeys(rfb) {
  desktop = rfb;
  panel("keys", (opened) => opened.querySelector("button").focus());
  for (const button of section.querySelectorAll("[data-keys]")) {
    button.addEventListener("click", () => {
      press(button.dataset.keys);
      letGo();
      closePanels();
    });
  }
  for (const button of section.querySelectorAll("[data-hold]")) {
    button.addEventListener("click", () => hold(button));
  }
  document.querySelector('[data-do="full"]').addEventListener("click", () => toggleFullScreen().catch(() => {}));
}
