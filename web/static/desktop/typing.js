// What is typed reaches the desktop by way of a text field that nobody sees: browsers compose dead keys and other
// scripts, show a phone's keyboard, and hand over their clipboard, in a text field only.

const field = document.getElementById("typing");
const screen = document.getElementById("screen");
const touch = matchMedia("(pointer: coarse)").matches;
const COMPOSED = new Set(["Dead", "Process", "Unidentified"]); // the browser says later what they make
const PASTE_WAIT = 60; // ms until a key that pastes goes on although the browser has pasted nothing

let desktop = () => null;
let pasting = null;

/** The keyboard now belongs to the desktop; on a phone, only once its own keyboard was asked for. */
export function focusDesktop() {
  if (!touch) field.focus({ preventScroll: true });
}

/** The keysym of a character: Latin-1 is itself, the rest is Unicode in the way of X11. */
function keysym(character) {
  const point = character.codePointAt(0);
  if (character === "\n") return 0xff0d;
  return point < 256 ? point : 0x01000000 | point;
}

/** The event once more, for noVNC, which listens to its picture and not to the field. */
function passOn(event) {
  screen.querySelector("canvas")?.dispatchEvent(event);
}

function copyOf(event) {
  const { key, code, location, keyCode, ctrlKey, shiftKey, altKey, metaKey, repeat } = event;
  const locks = ["AltGraph", "CapsLock", "NumLock"].map((name) => [`modifier${name}`, event.getModifierState(name)]);
  const copy = new KeyboardEvent(event.type, {
    key, code, location, keyCode, ctrlKey, shiftKey, altKey, metaKey, repeat, cancelable: true, ...Object.fromEntries(locks),
  });
  return Object.defineProperty(copy, "timeStamp", { value: event.timeStamp }); // two of one moment are AltGr of Windows
}

/** Keys by which browsers paste. */
function pastes({ key, ctrlKey, altKey, shiftKey }) {
  if (altKey) return false; // AltGr is Ctrl and Alt on Windows
  return (ctrlKey && key.toLowerCase() === "v") || (shiftKey && !ctrlKey && key === "Insert");
}

/** The key that pastes goes on to the desktop, which has the browser's clipboard by now. */
function finishPaste() {
  const key = pasting;
  pasting = null;
  if (key) passOn(key);
}

function down(event) {
  finishPaste();
  if (event.isComposing || event.keyCode === 229 || COMPOSED.has(event.key)) return;
  if (pastes(event)) {
    pasting = copyOf(event);
    setTimeout(finishPaste, PASTE_WAIT);
    return;
  }
  event.preventDefault();
  passOn(copyOf(event));
}

/** Wherever the focus is by now: a key that stays pressed in the desktop would change all that follow. */
function up(event) {
  finishPaste();
  passOn(copyOf(event));
}

/** Send what the field holds, and empty it. */
function send() {
  for (const character of field.value) desktop()?.sendKey(keysym(character));
  field.value = "";
}

/** Begin. `rfb` gives the connection of the moment; `paste` is told what the browser pastes. */
export function listen(rfb, paste) {
  desktop = rfb;
  field.addEventListener("keydown", down);
  window.addEventListener("keyup", (event) => event.isTrusted && up(event));
  field.addEventListener("compositionend", send);
  field.addEventListener("input", (event) => { if (touch || !event.isComposing) send(); });
  field.addEventListener("paste", (event) => {
    event.preventDefault();
    paste(event.clipboardData.getData("text/plain"));
    finishPaste();
  });
  screen.addEventListener("mousedown", focusDesktop, true);
  const button = document.querySelector('[data-do="keyboard"]');
  button.hidden = !touch;
  button.addEventListener("click", () => field.focus());
}
