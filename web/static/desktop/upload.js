// One line for each file on its way, with its progress and a button that cancels it; two are sent at a time.
const AT_ONCE = 2;
const UNITS = ["bytes", "kB", "MB", "GB", "TB"];
const waiting = [];
let running = 0;

/** "12 bytes", "3.4 MB". */
export function bytes(count) {
  const step = count < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** step;
  return `${step && value < 10 ? value.toFixed(1) : Math.floor(value)} ${UNITS[step]}`;
}

function element(tag, className, text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

class Move {
  constructor(wish) {
    Object.assign(this, wish);
    this.line = document.createElement("li");
    this.said = element("span", "file-said");
    this.button = Object.assign(element("button", "", "Cancel"), { type: "button" });
    this.button.setAttribute("aria-label", `Cancel ${this.name}`);
    this.button.addEventListener("click", () => this.stop());
    this.progress = Object.assign(document.createElement("progress"), { max: 1, value: 0 });
    this.progress.setAttribute("aria-label", `Progress of ${this.name}`);
    this.line.append(element("span", "file-name", this.name), this.button, this.progress, this.said);
    this.list.append(this.line);
    this.over = false;
  }

  /** Say how it ended; the button takes the line away. */
  end(words, failed = false) {
    this.over = true;
    this.said.textContent = words;
    this.said.classList.toggle("file-failed", failed);
    this.progress.remove();
    this.button.textContent = "Close";
    this.button.setAttribute("aria-label", `Close ${this.name}`);
  }

  stop() {
    if (this.over) {
      this.line.remove();
      return;
    }
    this.end("Cancelled. Nothing of it was kept.");
    this.request?.abort();
  }

  async run() {
    const room = await this.free();
    if (this.over) return;
    if (this.file.size > room) this.end(`There is no room for it: ${bytes(room)} are free.`, true);
    else await this.transfer();
  }

  transfer() {
    return new Promise((settle) => {
      this.request = new XMLHttpRequest();
      this.request.upload.addEventListener("progress", ({ loaded }) => this.moved(loaded));
      this.request.addEventListener("loadend", () => {
        if (!this.over) this.answered(this.request);
        settle();
      });
      this.request.open("POST", `/api/v1${this.path(this.name)}`);
      this.request.setRequestHeader("X-Requested-With", "beamdesk");
      this.request.setRequestHeader("Content-Type", "application/octet-stream");
      this.request.responseType = "json";
      this.request.send(this.file);
    });
  }

  moved(loaded) {
    if (this.over) return;
    this.progress.value = this.file.size ? loaded / this.file.size : 1;
    const words = `${bytes(loaded)} of ${bytes(this.file.size)}`;
    this.progress.textContent = words;
    this.progress.title = words;
  }

  answered({ status, response }) {
    if (status === 201) {
      const other = response.name === this.name ? "" : ` as ${response.name}, because its name was taken`;
      this.end(`It is in ${this.into || "your home"}${other}.`);
      this.done();
    } else {
      this.end(response?.detail ?? "It did not arrive: the connection broke, or it is a folder. Nothing of it was kept.", true);
    }
  }
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    const move = waiting.shift();
    if (move.over) continue;
    running += 1;
    move.run().catch((problem) => { if (!move.over) move.end(problem.message, true); }).finally(() => {
      running -= 1;
      next();
    });
  }
}

/** Send a file: `{list, name, file, into, free(), path(name), done()}`, or say why not: `{list, name, refused}`. */
export function send(wish) {
  const move = new Move(wish);
  if (wish.refused) {
    move.end(wish.refused, true);
    return;
  }
  waiting.push(move);
  next();
}

window.addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
