// Tells the page what changed: by Socket.IO while it lives, by asking every few seconds otherwise.
// A notice carries a kind and an id, never a state: who hears one fetches afresh.
import { io } from "../vendor/socket.io.esm.min.js";

const COALESCE = 250; // ms: a burst of notices is one refresh
const POLL = 4000; // ms between refreshes without a living socket
const HIDDEN = 15000; // the same where nobody looks: for who waits to be notified
const SAFETY = 60000; // ms between refreshes with one
const PULSE_LOST = 12500; // ms without the server's pulse, after which the socket counts as dead

const listeners = [];
let waiting = new Set();
let timer = null;
let lastPulse = 0;
let lastRefresh = Date.now();

/** Call `listener` with the Set of kinds that changed; null means that anything may have. */
export function onChange(listener) {
  listeners.push(listener);
}

/** Whether notices arrive by themselves just now. */
export function isLive() {
  return Date.now() - lastPulse < PULSE_LOST;
}

/** Refresh now what shows these kinds; all where none is named. */
export function refresh(kinds = null) {
  lastRefresh = kinds === null ? Date.now() : lastRefresh;
  listeners.forEach((listener) => listener(kinds));
}

function heard(kind) {
  waiting.add(kind);
  timer ??= setTimeout(() => {
    const kinds = waiting;
    waiting = new Set();
    timer = null;
    refresh(kinds);
  }, COALESCE);
}

const socket = io({ transports: ["websocket"], reconnectionDelay: 500, reconnectionDelayMax: 10000 });
socket.on("connect", () => {
  lastPulse = Date.now();
  document.documentElement.dataset.live = "socket";
  refresh();
});
socket.on("disconnect", (reason) => {
  lastPulse = 0;
  document.documentElement.dataset.live = "asking";
  if (reason === "io server disconnect") { // its sign-in has ended: the refresh leads to the sign-in page
    refresh();
    setTimeout(() => socket.connect(), POLL);
  }
});
socket.on("pulse", () => { lastPulse = Date.now(); });
socket.on("changed", ({ kind }) => heard(kind));

setInterval(() => {
  document.documentElement.dataset.live = isLive() ? "socket" : "asking";
  const due = isLive() ? SAFETY : document.hidden ? HIDDEN : POLL;
  if (Date.now() - lastRefresh >= due) refresh();
}, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
