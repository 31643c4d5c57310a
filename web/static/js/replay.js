// Replays a recording: blocks of what a viewer was shown, each with its moment, fed to the viewer as if they came now.
import { MeasuredRFB } from "../desktop/link.js"; // what is replayed has the answers to its fences
import { duration, put } from "./clock.js";
import { say } from "./toast.js";

const box = document.getElementById("replay");
const range = document.getElementById("replay-at");
const button = document.querySelector("[data-play]");
const speed = document.querySelector("[data-speed]");
const MAGIC = "FBS 001.000\n";
const TICK = 50; // ms

let blocks = []; // { bytes, at }
let next = 0;
let at = 0; // ms since the begin
let playing = false;
let last = 0;
let channel = null;
let viewer = null;

/** What the viewer takes for its connection: nothing that it says goes anywhere. */
class Channel {
  constructor() {
    Object.assign(this, { binaryType: "arraybuffer", protocol: "", readyState: "open", onopen: null, onmessage: null, onerror: null, onclose: null });
  }
  addEventListener() {}
  send() {}
  close() {
    this.readyState = "closed";
    this.onclose?.({ code: 1000, reason: "", wasClean: true });
  }
  feed(bytes) {
    this.onmessage?.({ data: bytes.slice().buffer });
  }
}

function parse(buffer) {
  const view = new DataView(buffer);
  if (new TextDecoder().decode(buffer.slice(0, MAGIC.length)) !== MAGIC) throw new Error("This is no recording.");
  const found = [];
  let place = MAGIC.length;
  while (place + 4 <= buffer.byteLength) {
    const length = view.getUint32(place);
    const end = place + 4 + length + ((4 - (length % 4)) % 4);
    if (end + 4 > buffer.byteLength) break; // it is being written, or the gateway was killed
    found.push({ bytes: new Uint8Array(buffer, place + 4, length), at: view.getUint32(end) });
    place = end + 4;
  }
  return found;
}

function begin() {
  viewer?.disconnect();
  box.replaceChildren();
  channel = new Channel();
  viewer = new MeasuredRFB(box, channel, { shared: true });
  viewer.viewOnly = true;
  viewer.scaleViewport = true;
  next = 0;
}

/** Show the moment `wanted`: from the begin where it is before what is shown. */
function go(wanted) {
  if (wanted < at || !viewer) begin();
  at = wanted;
  while (next < blocks.length && blocks[next].at <= at) channel.feed(blocks[next++].bytes);
  range.value = at;
  const whole = blocks.at(-1)?.at ?? 0;
  put(document.querySelector("[data-elapsed]"), `${duration(at / 1000)} of ${duration(whole / 1000)}`);
  if (at >= whole) play(false);
}

function play(on) {
  playing = on;
  last = performance.now();
  put(button, on ? "Pause" : "Play");
}

button.addEventListener("click", () => {
  if (!playing && next >= blocks.length) go(0);
  play(!playing);
});
range.addEventListener("input", () => go(Number(range.value)));
setInterval(() => {
  if (!playing) return;
  const moment = performance.now();
  go(Math.min(at + (moment - last) * Number(speed.value), blocks.at(-1).at));
  last = moment;
}, TICK);

try {
  const response = await fetch(`/api/v1/recordings/${box.dataset.recording}`);
  if (!response.ok) throw new Error((await response.json()).detail);
  blocks = parse(await response.arrayBuffer());
  range.max = blocks.at(-1).at;
  for (const part of [button, range]) part.disabled = false;
  go(0);
} catch (problem) {
  say(problem.message, { danger: true });
}
