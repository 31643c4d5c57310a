// Files to the home on the desktop's machine, and from it: dropped or chosen, and a panel that lists a folder. What the
// policy does not allow is not offered; the server sees to it.
import { panel } from "./panels.js";
import { bytes, send } from "./upload.js";
import { call } from "../js/api.js";
import { put } from "../js/clock.js";
import { tellNotAllowed } from "../js/policy.js";
import { sayProblem } from "../js/toast.js";

const section = document.getElementById("files");
const button = document.querySelector('[data-do="files"]');
const veil = document.querySelector("[data-drop]");
const DROPPED = "Desktop"; // where files go that are dropped while no folder is shown

let session = 0;
let folder = "";
let may = { files_in: false, files_out: false };

function part(name) {
  return section.querySelector(`[data-${name}]`);
}

function address(rest, values) {
  return `/sessions/${session}/files${rest}?${new URLSearchParams(values)}`;
}

/** Where a file goes: the folder that is shown, or the desktop. */
function target() {
  return section.hidden ? DROPPED : folder;
}

function row(element, name, size) {
  const [words, much] = [document.createElement("span"), document.createElement("span")];
  [words.className, words.textContent] = ["file-name", name];
  [much.className, much.textContent] = ["file-size", size];
  element.append(words, much);
  const line = document.createElement("li");
  line.append(element);
  return line;
}

function folderRow(name) {
  const opener = Object.assign(document.createElement("button"), { type: "button" });
  opener.addEventListener("click", () => show(folder ? `${folder}/${name}` : name, { focus: true }).catch(sayProblem));
  return row(opener, `${name}/`, "");
}

function fileRow({ name, size }) {
  const href = `/api/v1${address("/content", { folder, name })}`;
  return row(Object.assign(document.createElement("a"), { href, download: name, title: `Download ${name}` }), name, bytes(size));
}

function note(text) {
  return row(document.createElement("span"), text, "");
}

/** List this folder of the home. */
async function show(path, { focus = false } = {}) {
  const found = await call("GET", address("", { folder: path }));
  ({ folder } = found);
  put(part("place"), folder || "Home");
  put(part("free"), `${bytes(found.free)} free`);
  part("up").hidden = !folder;
  const rows = [...found.folders.map(folderRow), ...found.files.map(fileRow)];
  if (found.more) rows.push(note("There is more than is listed here."));
  if (!rows.length) rows.push(note(may.files_out ? "Nothing is in this folder." : "No folder is in this one."));
  part("list").replaceChildren(...rows);
  if (focus) (part("list").querySelector("button, a") ?? part("up")).focus();
}

function refresh(into) {
  if (!section.hidden && into === folder) show(folder).catch(sayProblem);
}

/** Upload these; folders are refused in words. */
function bring(files, folders = []) {
  const into = target();
  if (section.hidden) button.click();
  for (const name of folders) send({ list: part("moves"), name, refused: "Folders are not taken. Pack it into one file first." });
  for (const file of files) {
    send({ list: part("moves"), name: file.name, file, into, free: () => free(into), path: (name) => address("", { folder: into, name }), done: () => refresh(into) });
  }
}

/** How many bytes are free; of a folder that is not there yet, in the home. */
async function free(into) {
  const asked = await call("GET", address("", { folder: into })).catch(() => call("GET", address("", { folder: "" })));
  return asked.free;
}

function dropped({ dataTransfer }) {
  const [files, folders] = [[], []];
  for (const item of dataTransfer.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry?.();
    if (entry?.isDirectory) folders.push(entry.name);
    else files.push(item.getAsFile());
  }
  bring(files, folders);
}

function listenForDrops() {
  const isFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault(); // else the browser would open the file in place of the desktop
    event.dataTransfer.dropEffect = may.files_in ? "copy" : "none";
    veil.hidden = !may.files_in;
    put(veil.querySelector("[data-drop-place]"), target() || "Home");
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) veil.hidden = true; });
  document.addEventListener("drop", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    if (may.files_in) dropped(event);
  });
}

/** Offer what the policy allows of files, for a session as the API tells of it. */
export function allowFiles({ policy, state }) {
  may = state === "ready" ? policy : { files_in: false, files_out: false };
  button.hidden = !(may.files_in || may.files_out);
  part("bring").hidden = !may.files_in;
  const words = [[may.files_in, "Bringing files in is not allowed here."], [may.files_out, "Taking files out is not allowed here."]];
  tellNotAllowed(part("not-allowed"), words.filter(([allowed]) => !allowed).map(([, text]) => text));
}

/** Begin, for the session with this number. */
export function offerFiles(id) {
  session = id;
  panel("files", () => {
    show(folder).catch((problem) => (folder ? show("") : Promise.reject(problem))).catch(sayProblem);
    (may.files_in ? part("choose") : part("list")).focus();
  });
  part("up").addEventListener("click", () => show(folder.split("/").slice(0, -1).join("/"), { focus: true }).catch(sayProblem));
  part("choose").addEventListener("click", () => part("chosen").click());
  part("chosen").addEventListener("change", () => {
    bring([...part("chosen").files]);
    part("chosen").value = ""; // the same file again is a change again
  });
  listenForDrops();
}
