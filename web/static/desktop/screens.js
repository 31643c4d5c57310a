// The desktop's screens: one for each browser window that shows it. One window, the first, tells the server how large
// all of them are, side by side; each shows its own, and points into it.
import RFB from "../vendor/rfb.js";
import { MeasuredRFB } from "./link.js";

const HEAD = 4; // bytes: the number of screens, and padding
const SCREEN = 16; // bytes of each: identity, place, size and flags
const SET_DESKTOP_SIZE = 251;
const OTHERS = 2; // why a size has changed: another viewer wanted it
const PAUSE = 100; // ms between two sizes that are asked for

/** Screens of these sizes beside each other; those that are there keep who they are. */
function beside(sizes, present) {
  let x = 0;
  return sizes.map(({ w, h }, index) => {
    const { id = index ? (present[0].id + index) >>> 0 : 0, flags = 0 } = present[index] ?? {};
    const screen = { id, flags, x, y: 0, w: Math.floor(w), h: Math.floor(h) };
    x += screen.w;
    return screen;
  });
}

function same(some, others) {
  return JSON.stringify(some) === JSON.stringify(others);
}

/** What the server says of its screens (ExtendedDesktopSize of the community's register). */
function parse(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes[0] }, (_, index) => {
    const at = HEAD + index * SCREEN;
    const [x, y, w, h] = [4, 6, 8, 10].map((offset) => view.getUint16(at + offset));
    return { id: view.getUint32(at), flags: view.getUint32(at + 12), x, y, w, h };
  });
}

function send(sock, screens) {
  sock.sQpush8(SET_DESKTOP_SIZE);
  sock.sQpush8(0);
  sock.sQpush16(Math.max(...screens.map(({ x, w }) => x + w)));
  sock.sQpush16(Math.max(...screens.map(({ y, h }) => y + h)));
  sock.sQpush8(screens.length);
  sock.sQpush8(0);
  for (const { id, flags, x, y, w, h } of screens) {
    sock.sQpush32(id);
    for (const number of [x, y, w, h]) sock.sQpush16(number);
    sock.sQpush32(flags);
  }
  sock.flush();
}

/** A connection that shows one screen of several. noVNC 1.7 knows of one alone, and shows and asks for no other. */
export class ScreensRFB extends MeasuredRFB {
  /** `index` is the number of the screen that this window shows, from 0. */
  constructor(target, socket, { index, ...options }) {
    super(target, socket, options);
    Object.assign(this, { index, screens: [], second: null, decides: true, leaving: false });
  }

  /** The size of the second window, or null without one; and whether this window, or another one, decides the layout. */
  arrange(second, decides) {
    this.leaving ||= Boolean(this.second && !second);
    Object.assign(this, { second, decides });
    this._updateClip();
    this._updateScale();
    this._requestRemoteResize();
  }

  /** The screen that this window shows; null for all there is. */
  get shown() {
    return this.screens.length === 2 && (this.index || this.second) ? this.screens[this.index] : null;
  }

  /** Whether this window says how large the desktop is: while it is the only one, only where it should fit. */
  get lays() {
    if (this._viewOnly || !this._supportsSetDesktopSize || this.index) return false;
    return this.second || this.leaving ? this.decides : this._resizeSession;
  }

  _requestRemoteResize() {
    if (!this.lays || this._pendingRemoteResize) return;
    const wait = this._lastResize + PAUSE - Date.now();
    clearTimeout(this._resizeTimeout);
    if (wait > 0) {
      this._resizeTimeout = setTimeout(() => this._requestRemoteResize(), wait);
      return;
    }
    const wanted = beside([this._screenSize(), ...(this.second ? [this.second] : [])], this.screens);
    this.leaving = false;
    if (same(wanted, this.screens)) return;
    this._pendingRemoteResize = true;
    this._lastResize = Date.now();
    send(this._sock, wanted);
  }

  _handleExtendedDesktopSize() {
    if (this._sock.rQwait("screens", HEAD)) return false;
    const length = HEAD + SCREEN * this._sock.rQpeek8();
    if (this._sock.rQwait("screens", length)) return false;
    const refused = this._FBU.x === 1 && this._FBU.y !== 0;
    if (!refused) this.screens = parse(this._sock.rQpeekBytes(length));
    const { x: reason, width, height } = this._FBU;
    // TigerVNC's viewer asks for one screen of the whole size, half a second after its window has followed ours.
    const joined = reason === OTHERS && this.second && this.screens.length === 1 && width === this._fbWidth && height === this._fbHeight;
    super._handleExtendedDesktopSize();
    if (joined) this._requestRemoteResize();
    return true;
  }

  /** Show the part of the picture that is this window's screen; the pointer's place follows from it. */
  _updateClip() {
    const { shown } = this;
    if (!shown) {
      super._updateClip();
      return;
    }
    const display = this._display;
    display.clipViewport = true;
    display.viewportChangeSize(shown.w, shown.h);
    display.viewportChangePos(shown.x - display._viewportLoc.x, shown.y - display._viewportLoc.y);
  }
}
