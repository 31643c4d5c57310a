// Which picture quality suits a link. Pure: what was measured goes in, what is believed and chosen comes out.
//
// A desktop is of use where a usual change of the screen is seen soon: within BUDGET after a key, of which the round
// trip is one part and the picture's bytes are the other. The sharpest step that keeps this is chosen.

/** JPEG quality and compression (0 to 9, of Tight), and the bytes of half a screen of 1280x800 with text and a plot. */
export const STEPS = [
  { name: "light", quality: 2, compression: 6, bytes: 40_000 },
  { name: "medium", quality: 6, compression: 3, bytes: 90_000 },
  { name: "sharp", quality: 9, compression: 2, bytes: 250_000 },
];
const BUDGET = 600; // ms
const ROOM = 0.6; // of the budget, that a sharper step must keep before it is tried
const LATE = 200; // ms that an answer waits behind pictures: then the link is full, and what comes is all it can
const FALL = 3; // looks in a row that say so, before it gets lighter
const RISE = 6; // looks in a row that find the link free, before it may get sharper
const LONGEST = 128; // of these, where sharper was tried in vain again and again
const DRIFT = 1.002; // how the best round trip is forgotten, in case the way has become longer

/** What is believed of a link before its first look. Bandwidth is in bytes a second, and null while it was never full. */
export const UNKNOWN = { step: 1, bandwidth: null, least: null, late: 0, free: 0, patience: RISE, tried: false, probe: false };

/** Whether a step's pictures come in time, or within this share of it; `least` is the round trip without them, in ms. */
export function fits(step, least, bandwidth, share = 1) {
  const way = bandwidth === null ? 0 : (1000 * step.bytes) / bandwidth;
  return least + way <= BUDGET * share;
}

/**
 * After one look at the link. `seen`: an answer took `trip` ms, or is late by as much, when the very first took `greeting`;
 * in the meantime there came `rate` bytes a second, and `peak` while the answer was under way. Where `probe` is true in
 * what it returns, a picture should be asked for, to see how fast it comes.
 */
export function look(before, seen) {
  const least = Math.min((before.least ?? seen.greeting) * DRIFT, seen.trip);
  const link = { ...before, least, probe: false };
  return seen.trip > least + LATE ? full(link, seen) : free(link, seen);
}

/** Answers wait behind pictures: what came is what the link can carry. */
function full(before, { trip, rate }) {
  const link = { ...before, late: before.late + 1, free: 0, bandwidth: rate };
  const bearable = fits(STEPS[link.step], link.least, link.bandwidth) && trip <= BUDGET;
  if (link.late < FALL || link.step === 0 || bearable) return link;
  const patience = link.tried ? Math.min(LONGEST, 2 * link.patience) : link.patience;
  return { ...link, step: sharpest(link, link.step - 1), late: 0, tried: false, patience };
}

/** The sharpest step that fits, of those up to `most`. */
function sharpest({ least, bandwidth }, most, share = 1) {
  let step = most;
  while (step > 0 && !fits(STEPS[step], least, bandwidth, share)) step -= 1;
  return step;
}

/** Nothing waits: the link can carry at least what came in the time of an answer. */
function free(before, { peak }) {
  const bandwidth = before.bandwidth === null ? null : Math.max(before.bandwidth, peak);
  const calm = before.free + 1;
  const link = { ...before, late: 0, free: calm, bandwidth, patience: calm >= LONGEST ? RISE : before.patience };
  if (calm < before.patience || link.step === STEPS.length - 1) return link;
  const step = sharpest(link, STEPS.length - 1, ROOM);
  if (step > link.step) return { ...link, step, free: 0, tried: true };
  return { ...link, probe: Number.isInteger(Math.log2(calm / before.patience)) || calm % LONGEST === 0 };
}
