// The desktop's sound: off until it is wanted, then remembered. Each connection has a fresh ticket, and comes back by
// itself. Of several windows that show the desktop one plays it.
import { packets } from "./ogg.js";
import { call } from "../js/api.js";
import { say } from "../js/toast.js";

const RATE = 48000;
const PACKET = 20_000; // µs
const LONGEST_WAIT = 60_000; // ms
const LATE = 50; // packets that wait for the decoder, beyond which some are left out
const button = document.querySelector('[data-do="sound"]');
const volume = document.querySelector("[data-volume]");
const words = document.querySelector("[data-sound-words]");
const WORDS = {
  off: "Sound is off",
  waiting: "Sound is coming",
  gesture: "Sound begins with your next key or click",
  elsewhere: "Another window plays the sound",
  on: "Sound is on",
};

let address = "";
let allowed = false; // by the policy, and there is a desktop
let wanted = localStorage.getItem("desktop-sound") === "yes";
let playing = null; // what runs while it is wanted and allowed

/** What plays: one AudioContext, and one connection after the other, until it is ended. */
class Player {
  constructor() {
    this.over = new AbortController();
    this.tries = 0;
    this.run().catch((problem) => this.fail(problem));
  }

  async run() {
    const { signal } = this.over;
    show("elsewhere");
    await navigator.locks.request(`sound of ${address}`, { signal }, async () => {
      await this.prepare();
      while (!signal.aborted) await this.listen();
    });
  }

  async prepare() {
    show("waiting");
    this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    await this.context.audioWorklet.addModule(new URL("./sound-output.js", import.meta.url));
    this.gain = new GainNode(this.context);
    this.output = new AudioWorkletNode(this.context, "sound-output", { numberOfInputs: 0, outputChannelCount: [2] });
    this.output.connect(this.gain).connect(this.context.destination);
    this.setVolume();
    await this.begun();
  }

  /** Browsers let a page be heard after a key or a click in it. */
  async begun() {
    const { context, over: { signal } } = this;
    const resume = () => { context.resume(); };
    resume();
    if (context.state !== "running") show("gesture");
    for (const gesture of ["keyup", "pointerup"]) window.addEventListener(gesture, resume, { capture: true, signal });
    await new Promise((done) => {
      const look = () => (context.state === "running" || signal.aborted) && done();
      context.addEventListener("statechange", look, { signal });
      signal.addEventListener("abort", look);
      look();
    });
  }

  /** One connection, from its ticket to its end, and the pause after it. */
  async listen() {
    show("waiting");
    try {
      const { url } = await call("POST", `${address}/sound-tickets`);
      await this.hear(new WebSocket(url));
    } catch (problem) {
      if (problem.code === "policy-forbids") throw problem;
    }
    const wait = Math.min(LONGEST_WAIT, 250 * 2 ** this.tries);
    this.tries += 1;
    await this.pause(wait);
  }

  hear(socket) {
    const { signal } = this.over;
    socket.binaryType = "arraybuffer";
    const end = () => socket.close();
    signal.addEventListener("abort", end);
    return new Promise((done) => {
      socket.addEventListener("message", ({ data }) => this.came(new Uint8Array(data)));
      socket.addEventListener("close", () => {
        signal.removeEventListener("abort", end);
        done();
      });
      if (signal.aborted) end();
    });
  }

  came(page) {
    if (this.over.signal.aborted) return;
    this.tries = 0;
    show("on");
    for (const packet of packets(page)) this.decode(packet);
  }

  decode(packet) {
    if (this.decoder?.state !== "configured") this.begin();
    if (this.decoder.decodeQueueSize > LATE) return;
    this.decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: this.at, data: packet }));
    this.at += PACKET;
  }

  begin() {
    this.at = 0;
    this.decoder = new AudioDecoder({ output: (sound) => this.play(sound), error: () => {} }); // the next one goes on
    this.decoder.configure({ codec: "opus", sampleRate: RATE, numberOfChannels: 2 });
  }

  play(sound) {
    const channels = Array.from({ length: sound.numberOfChannels }, (_, planeIndex) => {
      const channel = new Float32Array(sound.numberOfFrames);
      sound.copyTo(channel, { planeIndex, format: "f32-planar" });
      return channel;
    });
    sound.close();
    this.output.port.postMessage(channels, channels.map(({ buffer }) => buffer));
  }

  setVolume() {
    if (this.gain) this.gain.gain.value = (volume.value / 100) ** 2; // as loudness is heard
  }

  /** Wait so long, or until again() or end(). */
  pause(ms) {
    return new Promise((done) => {
      this.wake = done;
      setTimeout(done, this.over.signal.aborted ? 0 : ms);
    });
  }

  /** The link, or the desktop, is there again. */
  again() {
    this.tries = 0;
    this.wake?.();
  }

  fail(problem) {
    if (this.over.signal.aborted) return;
    say(problem.message);
    want(false);
  }

  end() {
    this.over.abort();
    this.wake?.();
    if (this.decoder?.state === "configured") this.decoder.close();
    this.context?.close();
  }
}

function show(state) {
  button.dataset.state = state;
  if (words.textContent !== WORDS[state]) words.textContent = WORDS[state];
  button.title = WORDS[state];
}

/** Play, or do not, as things stand. */
function settle() {
  const on = wanted && allowed && able();
  if (on && !playing) playing = new Player();
  if (!on && playing) {
    playing.end();
    playing = null;
  }
  button.setAttribute("aria-pressed", String(wanted));
  volume.hidden = !wanted || button.hidden;
  if (!on) show("off");
}

function able() {
  return "AudioDecoder" in window && "AudioWorkletNode" in window; // both want https
}

function want(now) {
  wanted = now;
  localStorage.setItem("desktop-sound", wanted ? "yes" : "no");
  settle();
}

/** A desktop at this address of the API, as it tells of it now: its sound is offered where the policy allows it. */
export function allowSound(of, session) {
  if (!button) return;
  address = of;
  button.hidden = !session.policy.audio || ["support", "break-glass"].includes(session.kind);
  allowed = !button.hidden;
  settle();
  playing?.again();
}

/** The desktop is over. */
export function endSound() {
  if (!button) return;
  allowed = false;
  settle();
}

button?.addEventListener("click", () => {
  if (able()) want(!wanted);
  else say("This browser cannot play the desktop's sound: it needs WebCodecs, and https.");
});
if (volume) {
  volume.value = localStorage.getItem("desktop-volume") ?? 80;
  volume.addEventListener("input", () => {
    localStorage.setItem("desktop-volume", volume.value);
    playing?.setVolume();
  });
}
