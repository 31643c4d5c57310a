// The windows of one desktop in this browser: a second one shows a second screen, the first one decides how large both are.
//
// Who is there is told by locks, which a browser gives back for a tab that is closed, reloaded or killed; sizes go over
// a channel. Of several first windows, one holds the lock and decides, and the others show what it decided.
import { say, sayProblem } from "../js/toast.js";

const RELOAD = 2000; // ms that a second window may be gone before its screen is: it may only be reloading
const FEATURES = () => `popup,width=${window.innerWidth},height=${window.innerHeight}`;

const { session, screen: number } = document.body.dataset;
const area = document.getElementById("screen");
const button = document.querySelector('[data-do="second"]');
const [FIRST, SECOND] = [`desktop-${session}-first`, `desktop-${session}-second`];
const forever = new Promise(() => {});

let channel = null;
let desktop = () => null;
let second = null; // its size
let decides = false;
let watched = false;
let leaving = null;

/** Which of the desktop's screens this window shows, from 0. */
export const index = number === "2" ? 1 : 0;

/** Let a connection know of the windows that are there. */
export function arrange() {
  if (!index) desktop()?.arrange(second, decides);
}

function tellSize() {
  const { width, height } = area.getBoundingClientRect();
  channel.postMessage({ here: { w: width, h: height } });
}

function heardBySecond({ data }) {
  if (data === "who") tellSize();
  if (data === "focus") window.focus();
}

/** This is the second window, once no other one is: then `ready` is called. */
async function beSecond(ready, refused) {
  const wait = setTimeout(refused, RELOAD);
  await navigator.locks.request(SECOND, () => {
    clearTimeout(wait);
    channel.addEventListener("message", heardBySecond);
    new ResizeObserver(tellSize).observe(area); // which tells the first size, too
    ready();
    return forever;
  });
}

function heardByFirst({ data }) {
  if (!data.here) return;
  clearTimeout(leaving);
  second = data.here;
  arrange();
  watch().catch(sayProblem);
}

/** Wait until the second window has given back its lock. */
async function watch() {
  if (watched) return;
  watched = true;
  await navigator.locks.request(SECOND, { mode: "shared" }, () => {});
  watched = false;
  leaving = setTimeout(() => { second = null; arrange(); }, RELOAD);
}

async function beFirst() {
  channel.addEventListener("message", heardByFirst);
  channel.postMessage("who");
  button.hidden = false;
  button.addEventListener("click", open);
  await navigator.locks.request(FIRST, () => {
    decides = true;
    arrange();
    return forever;
  });
}

/** Open the second window, or bring forward the one that is there. */
function open() {
  const there = watched;
  const opened = window.open(there ? "" : `/desktop/${session}?screen=2`, SECOND, FEATURES());
  if (!opened) {
    say("The browser has blocked the second window.", { hint: "Allow pop-ups for this page, then press again.", danger: true });
  } else if (there && opened.location.href === "about:blank") {
    opened.close(); // the one that is there was opened by a page that is gone
    channel.postMessage("focus");
    say("The second screen is open in another window.");
  } else {
    opened.focus();
  }
}

/** Begin. `rfb` gives the connection of the moment; `ready` is called when this window may connect, `refused` if it must wait. */
export function shareScreens(rfb, ready, refused) {
  desktop = rfb;
  if (!navigator.locks || !session) return ready(); // a shared desktop's page, or a browser that lets no page know of another
  channel = new BroadcastChannel(`desktop-${session}`);
  if (index) return beSecond(ready, refused);
  ready();
  return beFirst();
}
