// A browser notification when a queued desktop is ready. Permission is asked for only when somebody wants one.
import { leave } from "./api.js";
import { say } from "./toast.js";

const OVER = new Set(["failed", "ended"]);

let states = new Map(); // session -> its state, and whether it ever waited in the queue

/** Ask the browser for permission; called from a click. */
export async function wantNotification() {
  if (!("Notification" in window)) {
    say("This browser shows no notifications.", { hint: "Keep this page open: it tells you here." });
    return;
  }
  const permission = await Notification.requestPermission();
  if (permission === "granted") {
    say("You will be notified when it is ready.", { hint: "Keep this page open, in the background if you like." });
  } else {
    say("The browser does not allow notifications of this site.", { hint: "Keep this page open: it tells you here." });
  }
  showButtons();
}

/** Offer the button only where it can still do something. */
function showButtons() {
  const decided = !("Notification" in window) || Notification.permission === "granted";
  for (const button of document.querySelectorAll('#sessions [data-action="notify"]')) {
    button.hidden = decided;
  }
}

/** Compare what is shown with what was: tell of what became ready, or ended, by itself. */
function compare(first) {
  const before = states;
  states = new Map();
  for (const { dataset: { session: id, state, title } } of document.querySelectorAll("#sessions article[data-session]")) {
    const was = before.get(id);
    const waited = state === "queued" || Boolean(was?.waited);
    states.set(id, { state, waited });
    if (first || was === undefined || was.state === state) continue;
    if (state === "ready") becameReady(id, title, waited);
    else if (OVER.has(state)) say(`${title} ${state === "failed" ? "failed" : "has ended"}.`, { hint: "Your list of desktops says why.", danger: true });
  }
  showButtons();
}

function becameReady(id, title, waited) {
  if (document.getElementById("launch")?.open) return;
  say(`${title} is ready.`);
  if (waited || document.hidden) showNotification(id, title);
}

/** Show it outside the page, if that is allowed. */
export function showNotification(id, title) {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  const notice = new Notification(`${title} is ready`, { body: "Click to open the desktop.", tag: `session-${id}`, icon: new URL("../beamdesk.svg", import.meta.url).href });
  notice.addEventListener("click", () => { window.focus(); leave(`/desktop/${id}`); });
}

/** Begin to watch the list of sessions. */
export function watchSessions() {
  if (!document.getElementById("sessions")) return;
  compare(true);
  document.body.addEventListener("htmx:afterSwap", ({ target }) => { if (target.id === "sessions") compare(false); });
}
