// The picture's quality: by what the link is measured to carry, or as the user chose; and what is said of it.
import { put } from "../js/clock.js";
import { look, STEPS, UNKNOWN } from "./quality.js";

const EVERY = 500; // ms
const AFTER = 50; // ms in which the server begins to send a picture that was asked for
const select = document.querySelector('select[data-do="quality"]');
const sign = document.querySelector("[data-signal]");
const CHOICES = new Set(["auto", "sharp", "light"]);

let desktop = () => null;
let link = UNKNOWN;
let choice = localStorage.getItem("desktop-quality");
if (!CHOICES.has(choice)) choice = "auto";

function chosen() {
  return choice === "auto" ? STEPS[link.step] : STEPS.find(({ name }) => name === choice);
}

/** Let the connection have the chosen quality. */
function apply() {
  const step = chosen();
  const rfb = desktop();
  if (rfb) [rfb.qualityLevel, rfb.compressionLevel] = [step.quality, step.compression];
  sign.dataset.step = step.name;
  put(select.options[0], choice === "auto" ? `Automatic: ${step.name}` : "Automatic");
}

function measure() {
  const rfb = desktop();
  const seen = rfb?.seen();
  if (seen) {
    link = look(link, seen);
    apply();
    tell(seen);
  }
  if (seen && link.probe && choice === "auto" && !document.hidden) rfb.refresh();
  setTimeout(() => rfb?.ask(), AFTER); // an answer that comes behind the picture shows how fast it came
}

function tell({ trip }) {
  put(sign.querySelector("[data-trip]"), `${Math.round(trip)} ms`);
  const carries = link.bandwidth === null ? "" : `, about ${((link.bandwidth * 8) / 1e6).toFixed(1)} Mbit/s`;
  sign.title = `An answer takes ${Math.round(trip)} ms${carries}: the picture is ${chosen().name}`;
}

/** A new connection: measured anew, from the quality that was right for the last one. */
export function measureAnew() {
  link = { ...UNKNOWN, step: link.step };
  apply();
}

/** Begin. `rfb` gives the connection of the moment. */
export function choosePicture(rfb) {
  desktop = rfb;
  select.value = choice;
  select.addEventListener("change", () => {
    choice = select.value;
    localStorage.setItem("desktop-quality", choice);
    apply();
  });
  setInterval(measure, EVERY);
}
