// The link to the desktop, measured: an RFB connection that knows how long an answer takes and how many bytes come.
import RFB from "../vendor/rfb.js";

const REQUEST = 0x80000000; // of a fence: the other side answers it at once, behind what it has said already
const HEADER = 8; // bytes of a fence behind its kind: 3 unused, 4 of flags, 1 that is the length of what follows

/** noVNC, with fences of our own (noVNC 1.7 answers the server's, and takes an answer for a fault). */
export class MeasuredRFB extends RFB {
  /** Count what comes on `socket`, which is the connection. */
  constructor(target, socket, options) {
    super(target, socket, options);
    this.link = { first: null, greeting: null, asked: null, trip: null, carried: 0, bytes: 0, before: 0, since: performance.now() };
    socket.addEventListener("message", ({ data }) => this.came(data.byteLength));
  }

  /** The second message answers what we say to the first: a round trip before any picture is on its way. */
  came(bytes) {
    const { link } = this;
    link.bytes += bytes;
    if (link.first === null) link.first = performance.now();
    else link.greeting ??= performance.now() - link.first;
  }

  /** What was seen since the last call, as quality.js wants it; null before the first answer. */
  seen() {
    const { link } = this;
    const at = performance.now();
    const trip = Math.max(link.trip ?? 0, link.asked === null ? 0 : at - link.asked);
    const seen = trip ? { trip, greeting: link.greeting, rate: (1000 * link.bytes) / (at - link.since), peak: link.carried } : null;
    Object.assign(link, { bytes: 0, before: link.before - link.bytes, carried: 0, since: at });
    return seen;
  }

  /** Ask for an answer, unless one is under way. */
  ask() {
    if (!this._supportsFence || this.link.asked !== null) return;
    Object.assign(this.link, { asked: performance.now(), before: this.link.bytes });
    RFB.messages.clientFence(this._sock, REQUEST, "");
  }

  answered() {
    const { link } = this;
    if (link.asked === null) return; // a replay's, or of a connection before
    link.trip = performance.now() - link.asked;
    link.carried = (1000 * (link.bytes - link.before)) / link.trip;
    link.asked = null;
  }

  /** Ask for the whole picture anew, though nothing of it has changed. */
  refresh() {
    RFB.messages.fbUpdateRequest(this._sock, false, 0, 0, this._fbWidth, this._fbHeight);
  }

  _handleServerFenceMsg() {
    if (this._sock.rQwait("fence", HEADER, 1)) return false;
    const head = this._sock.rQpeekBytes(HEADER);
    if (head[3] & 0x80) return super._handleServerFenceMsg();
    if (this._sock.rQwait("fence", HEADER + head[7], 1)) return false;
    this._sock.rQskipBytes(HEADER + head[7]);
    this.answered();
    return true;
  }
}
