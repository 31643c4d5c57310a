// One clipboard for the browser and the desktop.
//
// Into the desktop: a key that pastes brings the browser's clipboard along, which needs no permission; where the page
// may read the clipboard, it does so whenever it gets the focus, so that the desktop's own menus paste it, too.
// Out of it: what the desktop copies is written at once, or with the next key or click where the browser wants one.
// The panel shows it and takes text where a browser does neither.
import { panel } from "./panels.js";
import { say } from "../js/toast.js";

const LARGEST = 4_000_000; // bytes of UTF-8: the machine's VNC server takes no more
const text = document.getElementById("clip-text");
const section = document.getElementById("clipboard");
const button = document.querySelector('[data-do="clipboard"]');
const allow = section.querySelector("[data-allow]");

let desktop = () => null;
let policy = () => ({});
let shared = null; // the text that both have, as far as this page knows
let copied = ""; // what the desktop copied last
let unwritten = false; // the browser has not taken it yet

function usable() {
  const rfb = desktop();
  return rfb && !rfb.viewOnly ? rfb : null;
}

/** Give the desktop this text, unless it is the one that it has. */
export function paste(given) {
  if (!given || given === shared || !policy().clipboard_in || !usable()) return;
  if (new TextEncoder().encode(given).length > LARGEST) {
    say("This is too much for the desktop's clipboard, which takes 4 MB of text. Send it as a file.");
    return;
  }
  shared = given;
  if (unwritten) settle(false);
  usable().clipboardPasteFrom(given);
}

/** The desktop has copied this. */
export function copy(given) {
  if (!policy().clipboard_out) return;
  copied = given;
  if (!section.hidden) text.value = copied;
  settle(true);
  write();
}

/** What the desktop copied is, or is not, still to be written to the browser's clipboard. */
function settle(missing) {
  unwritten = missing;
  button.classList.toggle("desk-news", missing);
}

async function write() {
  if (!unwritten) return;
  const given = copied;
  try {
    await navigator.clipboard.writeText(given);
    if (given !== copied) return;
    shared = given;
    settle(false);
  } catch {
    return; // no focus, or no key or click before: the next one does it, and the panel has it
  }
}

/** "granted", "prompt" or "denied", or nothing where the browser cannot read it, or does not say. */
async function permission() {
  if (!navigator.clipboard?.readText) return "";
  try {
    return (await navigator.permissions.query({ name: "clipboard-read" })).state;
  } catch {
    return "";
  }
}

async function read() {
  if (!usable() || unwritten || !policy().clipboard_in || !document.hasFocus() || (await permission()) !== "granted") return;
  try {
    paste(await navigator.clipboard.readText());
  } catch {
    return; // the focus is gone again
  }
}

/** Copy what the panel shows, by the old way where there is no other. */
async function copyFromPanel() {
  text.select();
  try {
    await navigator.clipboard.writeText(text.value);
  } catch {
    document.execCommand("copy");
  }
  settle(false);
  say("Copied.");
}

async function askToRead() {
  try {
    paste(await navigator.clipboard.readText());
  } finally {
    allow.hidden = (await permission()) !== "prompt";
  }
}

async function opened() {
  text.value = unwritten ? copied : shared ?? copied;
  section.querySelector("[data-copy]").hidden = !policy().clipboard_out;
  text.focus(); // at once: what is typed now is meant for it
  allow.hidden = !policy().clipboard_in || (await permission()) !== "prompt";
}

/** A new connection: the desktop's clipboard may be any by now. */
export function forget() {
  shared = null;
  read();
}

/** Begin. `rfb` gives the connection of the moment, `allowed` what the session's policy is. */
export function share(rfb, allowed) {
  desktop = rfb;
  policy = allowed;
  panel("clipboard", opened);
  text.addEventListener("input", () => paste(text.value));
  section.querySelector("[data-copy]").addEventListener("click", copyFromPanel);
  allow.addEventListener("click", () => askToRead().catch(() => say("The browser does not let this page read the clipboard.")));
  window.addEventListener("focus", read);
  for (const gesture of ["keyup", "pointerup"]) window.addEventListener(gesture, write, true);
}
