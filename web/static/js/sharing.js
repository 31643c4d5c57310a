// Sharing a desktop: the panel with those who may open it, and with those who are there.
import { call, toSignIn } from "./api.js";
import { put, duration } from "./clock.js";
import { onChange, refresh } from "./live.js";
import { say, sayProblem } from "./toast.js";

const dialog = document.getElementById("sharing");
const list = dialog.querySelector("[data-guests]");
const made = dialog.querySelector("[data-made]");
const form = dialog.querySelector("[data-form]");

let session = null; // the one whose panel is open

/** Open the panel of this session. */
export async function openSharing(id, title) {
  session = id;
  dialog.querySelector("h2").textContent = `Share ${title}`;
  made.hidden = true;
  form.reset();
  await show();
  dialog.showModal();
  form.elements.user.focus();
}

async function show() {
  const wanted = session;
  const response = await fetch(`/fragments/sessions/${wanted}/guests`, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (response?.status === 401) return void toSignIn();
  const html = response?.ok ? await response.text() : null;
  if (html === null || wanted !== session) return;
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.withdraw : null;
  list.innerHTML = html;
  if (focused) (list.querySelector(`[data-withdraw="${focused}"]`) ?? form.elements.user).focus();
}

async function share() {
  const { user, control, hours } = form.elements;
  const body = { user: user.value.trim() || null, control: control.value === "yes", hours: Number(hours.value) };
  const { share: guest, link } = await call("POST", `/sessions/${session}/shares`, body);
  made.hidden = link === null;
  if (link === null) say(`Shared with ${guest.full_name}.`, { hint: "It is on their start page." });
  else made.querySelector("[data-link]").textContent = link;
  user.value = "";
  await show();
}

async function click({ target }) {
  const one = target.closest("[data-withdraw]");
  if (one) await call("DELETE", `/sessions/${session}/shares/${one.dataset.withdraw}`);
  else if (target.closest("[data-withdraw-all]")) await call("DELETE", `/sessions/${session}/shares`);
  else if (target.closest("[data-copy]")) return void (await copy());
  else if (target.closest("[data-close]") || target === dialog) return dialog.close();
  else return undefined;
  made.hidden = true;
  return show();
}

async function copy() {
  await navigator.clipboard.writeText(made.querySelector("[data-link]").textContent);
  say("Copied.");
}

function tick() {
  for (const element of list.querySelectorAll("[data-until]")) put(element, duration((Date.parse(element.dataset.until) - Date.now()) / 1000));
}

/** Answer support's question whether it may join. */
export async function answer(request, given) {
  const { full_name: name } = await call("POST", `/join-requests/${request}`, { answer: given });
  say(given === "refused" ? `${name} was refused.` : `${name} may join for an hour.`, given === "refused" ? {} : { hint: "Share shows who is there, and withdraws it at once." });
  refresh(new Set(["join", "session", "share"]));
}

/** Keep `notice` asking what support asks about this session, until it is answered. */
export function watchQuestions(id, notice) {
  const look = async () => {
    const question = (await call("GET", "/join-requests")).find(({ session: of }) => of === id);
    notice.hidden = !question;
    if (!question) return;
    notice.dataset.request = question.id;
    put(notice.querySelector("[data-who]"), `${question.full_name} of support asks to join this desktop: “${question.reason}”`);
  };
  onChange((kinds) => { if (kinds === null || kinds.has("join")) look().catch(() => {}); });
  notice.addEventListener("click", ({ target }) => {
    const given = target.closest("[data-answer]")?.dataset.answer;
    if (given) answer(notice.dataset.request, given).catch(sayProblem);
  });
}

/** Keep `element` saying who is in the session's desktop now; `notice` of an administrator who did not ask. */
export function watchGuests(id, element, notice) {
  const look = async () => {
    const all = await call("GET", `/sessions/${id}/shares`);
    const glass = all.find(({ kind }) => kind === "break-glass");
    notice.hidden = !glass;
    if (glass) put(notice.querySelector("p"), `${glass.full_name}, an administrator, may ${glass.control ? "control" : "look at"} this desktop: “${glass.reason}”`);
    const guests = all.filter((guest) => guest.here_since);
    element.hidden = !guests.length;
    put(element, guests.length > 2 ? `${guests.length} are here` : `${guests.map((guest) => guest.full_name).join(", ")} ${guests.length > 1 ? "are" : "is"} here`);
  };
  onChange((kinds) => { if (kinds === null || kinds.has("share")) look().catch(() => {}); });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  share().catch(sayProblem);
});
dialog.addEventListener("click", (event) => { click(event).catch(sayProblem); });
dialog.addEventListener("close", () => { session = null; });
onChange((kinds) => { if (session !== null && (kinds === null || kinds.has("share"))) show(); });
setInterval(tick, 1000);
