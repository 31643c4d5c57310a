// What buttons do: <button data-action="end" data-session="7">.
import { call, leave } from "./api.js";
import { duration } from "./clock.js";
import { ask, choice } from "./confirm.js";
import { acceptHandover, handOver, refuseHandover, withdrawHandover } from "./handover.js";
import { launch, rejoin, take } from "./launch.js";
import { refresh } from "./live.js";
import { wantNotification } from "./notify.js";
import { offerSsh, tellNotAllowed, ways } from "./policy.js";
import { answer, openSharing } from "./sharing.js";
import { offerKeys, sshFile } from "./ssh-file.js";
import { say, sayProblem } from "./toast.js";

const sessions = new Set(["session"]);

const ACTIONS = {
  launch,
  take,
  watch: ({ dataset }) => rejoin(dataset.session, dataset.title),
  return: ({ dataset }) => goTo(dataset.session, dataset.title),
  notify: wantNotification,
  connect,
  extend,
  stay,
  keep,
  end,
  share: ({ dataset }) => openSharing(dataset.session, dataset.title),
  "join-share": joinShare,
  "leave-share": leaveShare,
  answer: ({ dataset }) => answer(dataset.request, dataset.answer),
  "hand-over": handOver,
  "accept-handover": acceptHandover,
  "refuse-handover": refuseHandover,
  "withdraw-handover": withdrawHandover,
  "launch-cancel": (button) => cancelLaunch(button.closest("dialog")),
  close: (button) => button.closest("dialog").close(),
  "ssh-file": ({ dataset }) => sshFile(dataset.session, chosenKey()),
  copy,
  "sign-out": signOut,
};

/** Add actions of one page. */
export function addActions(more) {
  Object.assign(ACTIONS, more);
}

async function goTo(id, title) {
  const { state } = await call("GET", `/sessions/${id}`);
  if (state === "ready") leave(`/desktop/${id}`);
  else rejoin(id, title);
}

async function end({ dataset }) {
  const ready = dataset.state === "ready";
  const sure = await ask({
    title: ready ? `End ${dataset.title}?` : `Cancel ${dataset.title}?`,
    text: ready
      ? "Programs that run on this desktop stop, and what is not saved is lost. Files in your home stay."
      : "The launch is cancelled, and your place in the queue goes to the next one.",
    yes: ready ? "End it" : "Cancel it",
    no: "Keep it",
    danger: true,
  });
  if (!sure) return;
  await call("DELETE", `/sessions/${dataset.session}`);
  say(ready ? `${dataset.title} is ending.` : `${dataset.title} was cancelled.`);
  refresh();
}

async function extend({ dataset }) {
  const [session, limits] = await Promise.all([call("GET", `/sessions/${dataset.session}`), call("GET", "/limits")]);
  const left = (Date.parse(session.longest_until) - Date.parse(session.expires_at)) / 3600000;
  const steps = [1, 4, 12, 24, 48, 72].filter((hours) => hours <= left);
  if (!steps.length) {
    say("This session cannot be extended any more.", { hint: "Save your work and launch a new one when it ends.", danger: true });
    return;
  }
  const wanted = steps.includes(limits.extend_hours) ? limits.extend_hours : steps.at(-1);
  const list = choice("Extend by", "hours", steps.map((hours) => [hours, duration(hours * 3600)]));
  list.querySelector("select").value = wanted;
  const answer = await ask({
    title: `Extend ${dataset.title}`,
    text: `It ends in ${duration(session.seconds_left)}, and can live ${duration(left * 3600)} longer than that.`,
    yes: "Extend",
    fields: [list],
  });
  if (!answer) return;
  const longer = await call("POST", `/sessions/${dataset.session}/extend`, { hours: Number(answer.hours) });
  say(`${dataset.title} now ends in ${duration(longer.seconds_left)}.`);
  refresh();
}

async function stay({ dataset }) {
  await call("POST", `/sessions/${dataset.session}/stay`);
  say(`${dataset.title} stays.`);
  refresh();
}

async function keep(button) {
  const wanted = button.getAttribute("aria-checked") !== "true";
  await call("POST", `/sessions/${button.dataset.session}/keep`, { until: wanted ? "work-ends" : null });
  say(wanted ? `${button.dataset.title} stays until your work ends.` : `${button.dataset.title} ends again when it is idle.`, wanted ? { hint: "Its lease holds all the same." } : {});
  refresh();
}

async function connect({ dataset }) {
  const dialog = document.getElementById("connect");
  const way = (name) => dialog.querySelector(`[data-way="${name}"]`);
  const { policy, not_allowed: sentences } = await call("GET", `/sessions/${dataset.session}`);
  tellNotAllowed(dialog.querySelector("[data-not-allowed]"), sentences);
  dialog.querySelector("[data-both-ways]").hidden = ways(policy) !== "both";
  dialog.querySelector("[data-rdp-clipboard]").hidden = ways(policy) === "both";
  offerSsh(dialog, policy);
  dialog.querySelector("h2").textContent = `Connect to ${dataset.title}`;
  way("browser").href = `/desktop/${dataset.session}`;
  way("rdp").href = `/api/v1/sessions/${dataset.session}/connection.rdp`;
  way("ssh").dataset.session = dataset.session;
  dialog.querySelector("[data-rdp]").textContent = `xfreerdp beamdesk-${dataset.session}.rdp /dynamic-resolution`;
  dialog.querySelector("[data-ssh]").textContent = `ssh -F beamdesk-${dataset.session}.conf desktop`;
  dialog.querySelector("[data-vnc]").textContent = vncCommand(`ssh -F beamdesk-${dataset.session}.conf`);
  dialog.showModal();
  await offerKeys(dialog.querySelector("[data-ssh-keys]"));
}

/** A native viewer's: ssh brings the desktop's password, which only its user can read there, and then the picture. */
function vncCommand(ssh) {
  const tunnel = `${ssh} -f -L $L:$H:$R $G sleep 30`;
  return `VNC_VIA_CMD='${tunnel}' xtigervncviewer -via desktop -passwd <(${ssh} desktop cat /run/beamdesk/session/vnc-password) localhost:1`;
}

function chosenKey() {
  return Number(document.querySelector("[data-ssh-keys] select").value) || null;
}

async function joinShare({ dataset }) {
  const { id } = await call("POST", "/shares/join", { token: dataset.token });
  await leave(`/shared/${id}`);
}

async function leaveShare({ dataset }) {
  const sure = await ask({ title: `Give ${dataset.title} back?`, text: `${dataset.owner} can share it with you again.`, yes: "Give it back" });
  if (!sure) return;
  await call("DELETE", `/shares/${dataset.share}`);
  refresh();
}

async function copy(button) {
  await navigator.clipboard.writeText(button.previousElementSibling.textContent);
  say("Copied.");
}

async function cancelLaunch(dialog) {
  const { session } = dialog.dataset;
  dialog.close();
  if (session) await call("DELETE", `/sessions/${session}`);
  refresh();
}

async function signOut() {
  // The server closes this page's socket meanwhile. A provider that signed us in may want to end its part, too.
  await leave("/sign-in", async () => (await call("POST", "/sign-out"))?.continue_at);
}

/** Begin to act on clicks. A button is off while its action is at work, so that a double click is one. */
export function act() {
  document.addEventListener("click", async ({ target }) => {
    const button = target.closest("[data-action]");
    if (!button || button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    button.closest(".dropdown-menu")?.previousElementSibling.focus(); // which a dialog gives it back to: the menu closes
    try {
      await ACTIONS[button.dataset.action](button);
    } catch (problem) {
      sayProblem(problem);
      refresh(sessions);
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  document.removeEventListener("click", window.keepEarlyClick);
  document.addEventListener("DOMContentLoaded", () => window.earlyClick?.click()); // once all scripts have added theirs
}
