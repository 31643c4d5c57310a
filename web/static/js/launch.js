// A launch, from the click to the desktop: shows the steps as they happen and then goes to the desktop by itself.
import { call, leave, toSignIn } from "./api.js";
import { tick } from "./clock.js";
import { isLive, onChange, refresh } from "./live.js";
import { showNotification } from "./notify.js";
import { say, sayProblem } from "./toast.js";

const QUICK = 120; // ms between looks while a machine is being prepared
const SLOW = 2000; // ms between looks while in the queue
const OVER = new Set(["failed", "ending", "ended"]);

const dialog = document.getElementById("launch");
const progress = dialog.querySelector("[data-progress]");
const part = (name) => dialog.querySelector(`[data-${name}]`);

let watched = null; // the session that is shown, if any
let timer = null;
let wasQueued = false;

/** Launch what the button says, with the wish that its card holds. */
export async function launch(button) {
  const { environment, title, another } = button.dataset;
  open(title);
  try {
    const session = await call("POST", "/sessions", { environment, another: another === "true", ...wish(environment) });
    watch(session.id);
  } catch (problem) {
    dialog.close();
    if (problem.code === "already-running") {
      say(problem.message, { hint: "Use “Return to it”, or “Launch another”." });
    } else {
      sayProblem(problem);
    }
  } finally {
    refresh(new Set(["session"]));
  }
}

/** Show a launch that is under way already. */
export function rejoin(id, title) {
  open(title);
  watch(id);
}

function wish(environment) {
  const values = {};
  for (const { name, value } of document.querySelectorAll(`#wish-${environment} select`)) {
    if (name === "where") {
      const [kind, place] = value.split(":");
      if (place) values[kind] = place;
    } else if (name === "near" || name === "gpu_model") {
      if (value) values[name] = value;
    } else if (Number(value)) {
      values[name] = Number(value);
    }
  }
  return values;
}

/** Wait for something else: what the button offers. */
export async function take({ dataset }) {
  await call("POST", `/sessions/${dataset.session}/wish`, JSON.parse(dataset.wish));
  refresh(new Set(["session"]));
  look();
}

function open(title) {
  dialog.querySelector("h2").textContent = title;
  progress.replaceChildren(document.getElementById("launch-begin").content.cloneNode(true));
  for (const name of ["open", "notify", "cancel"]) part(name).hidden = true;
  wasQueued = false;
  dialog.showModal();
}

function watch(id) {
  watched = id;
  dialog.dataset.session = id;
  look();
}

async function look() {
  clearTimeout(timer);
  const id = watched;
  if (id === null) return;
  const response = await fetch(`/fragments/launch/${id}`, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (response?.status === 401) return void toSignIn();
  const html = response?.ok ? await response.text() : null;
  if (watched !== id) return; // closed meanwhile, or done by another look
  if (html !== null) show(id, html);
  if (watched !== null) timer = setTimeout(look, wasQueued ? (isLive() ? SLOW * 2 : SLOW) : QUICK);
}

function show(id, html) {
  window.Idiomorph.morph(progress, html, { morphStyle: "innerHTML" });
  tick();
  const { state, desktop } = progress.querySelector(".launch-state").dataset;
  part("notify").hidden = state !== "queued" || !("Notification" in window) || Notification.permission === "granted";
  part("cancel").hidden = state === "ready" || OVER.has(state);
  if (state === "ready") ready(id, desktop);
  else if (OVER.has(state)) watched = null;
  else wasQueued = state === "queued";
}

function ready(id, desktop) {
  watched = null;
  part("open").href = desktop;
  part("open").hidden = false;
  if (document.hidden && wasQueued) showNotification(id, dialog.querySelector("h2").textContent);
  leave(desktop);
}

dialog.addEventListener("close", () => { watched = null; clearTimeout(timer); });
window.addEventListener("pageshow", ({ persisted }) => { if (persisted) dialog.close(); });
onChange((kinds) => { if (watched !== null && (kinds === null || kinds.has("session"))) look(); });
