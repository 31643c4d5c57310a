// What of the sound is played when. Pure: frames go in as they come, and out as the speaker wants them.
//
// Some are held back, because they come unevenly: as few as the link bears. Where they run out, more are held from then
// on; where all that was held for a second was never needed, the rest is skipped, so that the sound keeps up.

const RATE = 48; // frames in a millisecond
const [LEAST, MOST, STEP] = [60 * RATE, 300 * RATE, 20 * RATE]; // that are held back
const FAR = 500 * RATE; // behind: not a moment is waited before it is skipped
const LOOK = 1000 * RATE; // between two looks at what was never needed
const CALM = 30; // looks without a gap, before fewer are held

export class Playout {
  pieces = []; // of frames, each with its channels
  begun = 0; // frames of the first piece that were played
  held = 0;
  wanted = LEAST;
  playing = false;
  spare = Infinity; // the fewest that were held since the last look
  looked = 0; // frames since then
  calm = 0;

  /** More sound: its channels, of the same length. */
  take(channels) {
    this.pieces.push(channels);
    this.held += channels[0].length;
    if (this.held > this.wanted + FAR) this.skip(this.held - this.wanted);
  }

  /** Fill these channels with what comes next; with silence where there is nothing. */
  give(channels) {
    const count = channels[0].length;
    if (!this.playing) {
      if (this.held < this.wanted) return;
      this.playing = true;
    }
    if (this.held < count) {
      this.gap();
      return;
    }
    this.copy(channels);
    this.skip(count);
    this.look(count);
  }

  copy(channels) {
    let [done, piece, from] = [0, 0, this.begun];
    while (done < channels[0].length) {
      const source = this.pieces[piece];
      const size = Math.min(source[0].length - from, channels[0].length - done);
      channels.forEach((channel, n) => channel.set((source[n] ?? source[0]).subarray(from, from + size), done));
      [done, piece, from] = [done + size, piece + 1, 0];
    }
  }

  skip(count) {
    this.held -= count;
    this.begun += count;
    while (this.pieces.length && this.begun >= this.pieces[0][0].length) this.begun -= this.pieces.shift()[0].length;
  }

  gap() {
    this.playing = false;
    this.wanted = Math.min(MOST, this.wanted + STEP);
    this.again();
    this.calm = 0;
  }

  again() {
    [this.spare, this.looked] = [Infinity, 0];
  }

  look(count) {
    this.spare = Math.min(this.spare, this.held);
    this.looked += count;
    if (this.looked < LOOK) return;
    if (this.spare > this.wanted) this.skip(this.spare - this.wanted + STEP);
    this.calm += 1;
    if (this.calm % CALM === 0) this.wanted = Math.max(LEAST, this.wanted - STEP);
    this.again();
  }
}
