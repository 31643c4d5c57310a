// The desktop: a fresh ticket for every connection, reconnection by itself, and plain words for what happens.
// One's own session's, or one that is shared with who sees the page (data-share), perhaps to look only.
import { copy, forget, paste, share as shareClipboard } from "./clipboard.js";
import { allowFiles, offerFiles } from "./files.js";
import { letGo, offerKeys } from "./keys.js";
import { choosePicture, measureAnew } from "./picture.js";
import { ScreensRFB } from "./screens.js";
import { allowSound, endSound } from "./sound.js";
import { focusDesktop, listen } from "./typing.js";
import { arrange, index, shareScreens } from "./windows.js";
import { call, leave } from "../js/api.js";
import { duration, put } from "../js/clock.js";
import { ask } from "../js/confirm.js";
import { tellOffers } from "../js/handover.js";
import { onChange } from "../js/live.js";
import { offerClipboard, offerSsh } from "../js/policy.js";
import { openSharing, watchGuests, watchQuestions } from "../js/sharing.js";
import { sshFile } from "../js/ssh-file.js";
import { say, sayProblem } from "../js/toast.js";

const id = Number(document.body.dataset.session);
const share = document.body.dataset.share;
const address = share ? `/shares/${share}` : `/sessions/${id}`;
const screen = document.getElementById("screen");
const cover = document.querySelector("[data-cover]");
const state = document.querySelector(".desk-state");
const LONGEST_WAIT = 10000;

let rfb = null;
let session = null;
let tries = 0;
let retry = null;
let over = false;
let opening = false;
let turn = false; // whether this window may show its screen
let fit = localStorage.getItem("desktop-fit") !== "no";

function show(kind, words) {
  state.dataset.state = kind;
  state.querySelector("[data-words]").textContent = words;
}

function explain(title, text, { still = false, home = false } = {}) {
  cover.hidden = false;
  cover.classList.toggle("still", still);
  cover.querySelector("[data-title]").textContent = title;
  cover.querySelector("[data-text]").textContent = text;
  cover.querySelector("[data-home]").hidden = !home;
}

/** Ask for the session's state; connect when it is ready, say so when it is over. */
async function look() {
  session = await call("GET", address);
  offerClipboard(document.getElementById("clipboard"), session);
  offerSsh(document, session.policy);
  if (share) allow(session.control);
  else if (!index) allowFiles(session);
  if (share ? !session.over : session.state === "ready") {
    allowSound(address, session);
    return open();
  }
  if (share) return finish();
  if (["requested", "queued", "preparing"].includes(session.state)) {
    show("waiting", "Starting");
    const place = session.place ? `You are number ${session.place} in the queue.` : "";
    explain(session.state === "queued" ? "Waiting for a machine" : "Starting your desktop", place || "This takes about a second.");
    return undefined;
  }
  return finish();
}

/** As a guest: what the owner allows, which the gateway sees to; this page only does not pretend otherwise. */
function allow(control) {
  for (const button of document.querySelectorAll("[data-for-control]")) button.classList.toggle("desk-off", !control);
  put(document.querySelector("[data-may]"), control ? "you can control it" : "you can look");
  if (rfb) rfb.viewOnly = !control;
}

function finish() {
  over = true;
  clearTimeout(retry);
  rfb?.disconnect();
  endSound();
  if (share) {
    show("over", "No longer shared");
    return explain("No longer shared with you", session.over, { still: true, home: true });
  }
  show("over", session.state === "ending" ? "Ending" : "Ended");
  const why = session.failure ?? session.end_reason ?? "It is over.";
  const failed = session.state === "failed";
  return explain(failed ? "This session failed" : "This session has ended", sentence(why), { still: true, home: true });
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** Connect with a fresh ticket, unless a connection is open or on its way. */
async function open() {
  if (rfb || opening || over || !turn) return;
  opening = true;
  try {
    const { url } = await call("POST", `${address}/tickets`);
    connect(url);
  } finally {
    opening = false;
  }
}

function connect(url) {
  rfb = new ScreensRFB(screen, new WebSocket(url), { shared: true, index });
  rfb.background = "#0d151a";
  rfb.focusOnClick = false; // the field that takes what is typed has it
  rfb.viewOnly = Boolean(share) && !session.control;
  applyFit();
  arrange();
  measureAnew();
  rfb.addEventListener("connect", () => {
    tries = 0;
    cover.hidden = true;
    show("connected", "Connected");
    performance.mark("connected");
    letGo();
    forget();
    focusDesktop();
  });
  rfb.addEventListener("disconnect", lost);
  rfb.addEventListener("clipboard", ({ detail }) => copy(detail.text));
}

function lost() {
  rfb = null;
  if (over) return;
  const wait = Math.min(LONGEST_WAIT, 250 * 2 ** tries);
  tries += 1;
  show("waiting", "Reconnecting");
  explain("Connection lost", `${share ? "The" : "Your"} desktop goes on. Reconnecting by itself …`);
  retry = setTimeout(begin, wait);
}

function begin() {
  look().catch((problem) => {
    if (problem.status === 404) {
      over = true;
      return explain("Not a desktop of yours", problem.message, { still: true, home: true });
    }
    return lost();
  });
}

function applyFit() {
  document.querySelector('[data-do="fit"]')?.setAttribute("aria-pressed", String(fit));
  if (rfb) {
    rfb.resizeSession = fit && !share && !index; // its size is the owner's, as the first window has it
    rfb.scaleViewport = true; // another viewer, or an RDP client, may have given it another size
  }
}

const actions = {
  async extend() {
    session = await call("POST", `/sessions/${id}/extend`, {});
    say("The session was extended.");
    tick();
  },
  async stay() {
    session = await call("POST", `/sessions/${id}/stay`);
    say("The desktop stays.");
    tick();
    focusDesktop();
  },
  async end() {
    const yes = await ask({
      title: "End this session?", danger: true, yes: "End it", no: "Keep it",
      text: "Programs that run in it are closed. Your files in your home stay.",
    });
    if (yes) {
      session = await call("DELETE", `/sessions/${id}`) ?? { ...session, state: "ended", end_reason: "ended by you" };
      finish();
    }
  },
  share: () => openSharing(id, document.querySelector(".desk-name").textContent),
  async leave() {
    const yes = await ask({ title: "Give this desktop back?", text: `${session.owner} can share it with you again.`, yes: "Give it back", no: "Stay" });
    if (yes) await leave("/", () => call("DELETE", address));
  },
  fit() {
    fit = !fit;
    localStorage.setItem("desktop-fit", fit ? "yes" : "no");
    applyFit();
  },
  async ssh() { await sshFile(id); },
};

for (const [name, act] of Object.entries(actions)) {
  document.querySelector(`button[data-do="${name}"]`)?.addEventListener("click", () => {
    Promise.resolve(act()).catch(sayProblem);
  });
}
window.addEventListener("online", () => { clearTimeout(retry); tries = 0; if (!over) begin(); });

// The way out of the desktop by keyboard.
window.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.altKey && event.shiftKey) {
    event.preventDefault();
    event.stopPropagation();
    document.querySelector(".desk-brand").focus();
  }
}, true);

function tick() {
  const left = session?.expires_at ? (Date.parse(session.expires_at) - Date.now()) / 1000 : null;
  document.querySelector("[data-left]").textContent = left === null ? "–" : duration(left);
  tellIdle(over ? null : session?.use);
}

/** The warning that nobody uses the desktop, as long as it stands. */
function tellIdle(use) {
  const notice = document.querySelector("[data-idle]");
  if (!notice) return;
  notice.hidden = !(use?.warned && use.ends_at);
  if (notice.hidden) return;
  put(notice.querySelector("[data-idle-for]"), duration((Date.now() - Date.parse(use.since)) / 1000));
  put(notice.querySelector("[data-idle-left]"), duration((Date.parse(use.ends_at) - Date.now()) / 1000));
}

onChange((kinds) => { if (!over && (kinds === null || kinds.has(share ? "share" : "session"))) begin(); });
if (!share && !index) {
  watchGuests(id, document.querySelector(".desk-guests"), document.querySelector("[data-glass]"));
  offerFiles(id);
  watchQuestions(id, document.querySelector("[data-question]"));
}
if (!index) tellOffers();
const current = () => rfb;
listen(current, paste);
shareClipboard(current, () => session.policy);
offerKeys(current);
choosePicture(current);
setInterval(tick, 1000);
shareScreens(
  current,
  () => { turn = true; begin(); },
  () => explain("The second screen is open", "Another window shows it. This one takes over when that is closed.", { still: true }),
);
