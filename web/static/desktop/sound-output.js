// The end of the sound's way in the browser, where it wants the next frames on time: a thread of its own.
import { Playout } from "./playout.js";

registerProcessor("sound-output", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.playout = new Playout();
    this.port.onmessage = ({ data }) => this.playout.take(data);
  }

  process(_, [channels]) {
    this.playout.give(channels);
    return true;
  }
});
