// Times that pass without asking the server: what is left of a lease, and moments in the reader's own zone.

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** "2 d 4 h", "47 min", "30 s": as the server words it. */
export function duration(seconds) {
  const whole = (unit) => Math.floor(seconds / unit);
  if (seconds < MINUTE) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < HOUR) return `${whole(MINUTE)} min`;
  if (seconds < 10 * HOUR) return two(whole(HOUR), "h", Math.floor((seconds % HOUR) / MINUTE), "min");
  if (seconds < DAY) return `${whole(HOUR)} h`;
  return two(whole(DAY), "d", Math.floor((seconds % DAY) / HOUR), "h");
}

function two(much, unit, little, smaller) {
  return little ? `${much} ${unit} ${little} ${smaller}` : `${much} ${unit}`;
}

const short = { hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
const clock = new Intl.DateTimeFormat(undefined, short);
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", ...short });
const exact = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });

/** "14:00 CET" where that is today, else with its day. */
function inShort(moment) {
  return moment.toDateString() === new Date().toDateString() ? clock.format(moment) : day.format(moment);
}

/** Set the text where it differs: a screen reader tells of each change. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Put all times of the page right now. */
export function tick() {
  for (const element of document.querySelectorAll("[data-until]")) {
    put(element, duration((Date.parse(element.dataset.until) - Date.now()) / 1000));
  }
  for (const element of document.querySelectorAll("[data-for]")) {
    put(element, duration((Date.now() - Date.parse(element.dataset.for)) / 1000));
  }
  for (const element of document.querySelectorAll("[data-moment]")) {
    put(element, day.format(new Date(element.dataset.moment)));
  }
  for (const element of document.querySelectorAll("[data-clock]")) {
    put(element, inShort(new Date(element.dataset.clock)));
  }
  for (const element of document.querySelectorAll("[data-exact]")) {
    put(element, exact.format(new Date(element.dataset.exact)));
  }
  for (const lease of document.querySelectorAll("[data-lease]")) {
    const left = Math.max(0, (Date.parse(lease.dataset.ends) - Date.now()) / 1000);
    lease.querySelector(".bar-lease")?.setAttribute("width", Math.min(100, (100 * left) / lease.dataset.lease).toFixed(2));
  }
}

/** Begin to keep times right. */
export function keepTime() {
  tick();
  setInterval(tick, 1000);
  document.body.addEventListener("htmx:afterSwap", tick);
}
