// The dashboard: actions on pools and machines, plots of the pools' last hours, and whether the page is live.
import { addActions } from "./actions.js";
import { call, leave } from "./api.js";
import { duration } from "./clock.js";
import { ask, choice, field } from "./confirm.js";
import { isLive, onChange, refresh } from "./live.js";
import { say } from "./toast.js";
import uPlot from "../vendor/uplot.esm.js";

const HOURS = 3;
const REDRAW = 5000; // ms, at least, between two fetches of one plot
const LAYERS = [["acquired", "in use"], ["vacant", "vacant"], ["coming", "coming"], ["failed", "failed"]];

addActions({
  resize: async ({ dataset: { pool, target, limit } }) => {
    const number = (name, value) => field(name === "target" ? "Vacant machines kept (target)" : "Machines in all (limit)", { type: "number", name, value, min: 0, max: 10000, required: true, inputMode: "numeric" });
    const resized = await ask({
      title: `Resize ${pool}`,
      text: "These figures replace the settings' own until they are changed here again.",
      yes: "Resize",
      fields: [number("target", target), number("limit", limit)],
      send: (answer) => call("POST", `/admin/pools/${pool}/resize`, { target: Number(answer.target), limit: Number(answer.limit) }),
    });
    if (!resized) return;
    say(`${pool}: target ${resized.target}, limit ${resized.limit}.`);
    refresh();
  },
  drain: async ({ dataset: { pool } }) => {
    const sure = await ask({ title: `Drain ${pool}?`, text: "It gives out no machine any more and its vacant ones are removed. Running desktops go on; those who wait look for another pool.", yes: "Drain it", danger: true });
    if (sure) await done(`/pools/${pool}/drain`, `${pool} is draining.`);
  },
  resume: async ({ dataset: { pool } }) => {
    const sure = await ask({ title: `Let ${pool} serve?`, text: "It gives out machines, and what it lacks is built at once.", yes: "Resume" });
    if (sure) await done(`/pools/${pool}/resume`, `${pool} serves.`);
  },
  "drain-cloud": async ({ dataset: { cloud, title } }) => {
    const sure = await ask({ title: `Drain ${title}?`, text: "None of its pools gives out a machine any more, and their vacant ones are removed. Running desktops go on; other clouds keep more machines ready in its place, where their pools' limits allow.", yes: "Drain it", danger: true });
    if (sure) await done(`/clouds/${cloud}/drain`, `${title} is draining.`);
  },
  "resume-cloud": async ({ dataset: { cloud, title } }) => {
    const sure = await ask({ title: `Use ${title}?`, text: "It is asked at once, and its pools build what they lack.", yes: "Use it" });
    if (sure) await done(`/clouds/${cloud}/resume`, `${title} is asked again.`);
  },
  retire: async ({ dataset: { machine, name } }) => {
    const sure = await ask({ title: `Retire ${name}?`, text: "The machine is removed; its pool makes another one if it needs it.", yes: "Retire it", danger: true });
    if (sure) await done(`/machines/${machine}/retire`, `${name} is being removed.`);
  },
  retry: async ({ dataset: { machine, name, pool } }) => {
    const sure = await ask({ title: `Try ${name} again?`, text: `The failed machine and its evidence are removed, and ${pool} builds what it lacks at once.`, yes: "Try again" });
    if (sure) await done(`/machines/${machine}/retry`, `${name} is being removed; ${pool} builds again.`);
  },
  "ask-to-join": async ({ dataset: { session, title } }) => {
    const answer = await ask({ title: `Ask to join ${title}?`, text: "Its owner reads why, and lets you look, lets you control it, or refuses. The question stands for ten minutes.", yes: "Ask", fields: [field("Why", { name: "reason", required: true, minLength: 3, maxLength: 300 })], send: ({ reason }) => call("POST", `/sessions/${session}/join-requests`, { reason }) });
    if (!answer) return;
    say("The owner is asked.", { hint: "The row of the session has the way in when it is allowed." });
    refresh();
  },
  "take-back": async ({ dataset: { request } }) => {
    await call("DELETE", `/join-requests/${request}`);
    refresh();
  },
  "break-glass": async ({ dataset: { session, title } }) => {
    const how = choice("To", "control", [["no", "look only"], ["yes", "control it"]]);
    const send = ({ reason, control }) => call("POST", `/sessions/${session}/break-glass`, { reason, control: control === "yes" });
    const share = await ask({ send, title: `Join ${title} without asking?`, text: "Its owner sees at once that you are there and why, and in the history afterwards. It is in the audit log, and lasts an hour.", yes: "Break the glass", danger: true, fields: [field("Why nobody can be asked", { name: "reason", required: true, minLength: 3, maxLength: 300 }), how] });
    if (share) await leave(`/shared/${share.id}`);
  },
  evidence: ({ dataset: { machine, name, failure } }) => {
    const dialog = document.getElementById("evidence");
    dialog.querySelector("h2").textContent = `What the probe saw of ${name}`;
    dialog.querySelector("[data-text]").textContent = failure || "The last look at its desktop, as a user would see it.";
    dialog.querySelector("img").src = `/api/v1/admin/machines/${machine}/evidence?${Date.now()}`;
    dialog.showModal();
  },
});

async function done(path, words, body) {
  await call("POST", `/admin${path}`, body);
  say(words);
  refresh();
}

// Plots. The counts are stacked: a layer is drawn from the sum of those under it.
const plots = new Map(); // pool -> { plot, fetched }

function stacked(history) {
  const sums = history.at.map(() => 0);
  const layers = LAYERS.map(([name]) => history[name].map((number, i) => (sums[i] += number)));
  return [history.at, ...layers.reverse()]; // the highest first, so that lower ones are painted over it
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries([...LAYERS.map(([name]) => [name, `--bd-bar-${name}`]), ["quiet", "--bd-quiet"], ["line", "--bd-line"]].map(([name, variable]) => [name, style.getPropertyValue(variable).trim()]));
}

function draw(element, history) {
  const colour = colours();
  const stepped = uPlot.paths.stepped({ align: 1 });
  const axis = { stroke: colour.quiet, grid: { stroke: colour.line, width: 1 }, ticks: { show: false }, font: "11px Inter, sans-serif" };
  return new uPlot({
    width: element.clientWidth,
    height: 96,
    padding: [6, 6, 0, 0],
    cursor: { show: false },
    legend: { show: false },
    scales: { y: { range: (_, low, high) => [0, Math.max(2, Math.ceil(high * 1.15))] } },
    axes: [{ ...axis, size: 22, space: 60, values: "{HH}:{mm}" }, { ...axis, size: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 500], space: 26 }],
    series: [{}, ...[...LAYERS].reverse().map(([name, label]) => ({ label, fill: colour[name], width: 0, paths: stepped, points: { show: false } }))],
  }, stacked(history), element);
}

async function plot(element) {
  const pool = element.dataset.plot;
  const known = plots.get(pool);
  if (known && Date.now() - known.fetched < REDRAW) {
    known.later ??= setTimeout(() => { known.later = null; plot(element); }, REDRAW);
    return;
  }
  const entry = known ?? {};
  entry.fetched = Date.now();
  plots.set(pool, entry);
  const history = await call("GET", `/admin/pools/${encodeURIComponent(pool)}/history?hours=${HOURS}`).catch(() => null);
  if (!history || plots.get(pool) !== entry) return; // drawn anew meanwhile
  if (entry.plot) entry.plot.setData(stacked(history));
  else entry.plot = draw(element, history);
}

const plotAll = () => document.querySelectorAll("[data-plot]").forEach(plot);
const redraw = () => {
  for (const { plot: shown, later } of plots.values()) { shown?.destroy(); clearTimeout(later); }
  plots.clear();
  plotAll();
};

onChange((kinds) => { if (kinds === null || kinds.has("pool") || kinds.has("machine")) plotAll(); });
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(redraw));
let width = window.innerWidth;
window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; redraw(); } });
plotAll();

// What passes by itself.
function tick() {
  for (const element of document.querySelectorAll("[data-since]")) {
    const seconds = (Date.now() - Date.parse(element.dataset.since)) / 1000;
    const text = seconds < 5 ? "just now" : `${duration(seconds)} ago`;
    if (element.textContent !== text) element.textContent = text;
  }
  for (const element of document.querySelectorAll("[data-in]")) {
    const seconds = (Date.parse(element.dataset.in) - Date.now()) / 1000;
    const text = seconds > 1 ? `in ${duration(seconds)}` : "now";
    if (element.textContent !== text) element.textContent = text;
  }
  const state = document.getElementById("live-state");
  state.classList.toggle("is-live", isLive());
  const words = isLive() ? "live" : "asking every few seconds";
  if (state.lastChild.textContent !== words) state.lastChild.textContent = words;
}
setInterval(tick, 1000);
setTimeout(tick, 300);
