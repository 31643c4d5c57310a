// What the policy does not allow is not offered, and is said in words. The gateways see to it; these pages only do not
// pretend otherwise.
import { put } from "./clock.js";

const LABELS = {
  both: "The desktop's clipboard. What you type here can be pasted in the desktop.",
  out: "The desktop's clipboard.",
  in: "What you type here can be pasted in the desktop.",
};

/** Say in the list what is not allowed; without anything to say it is not there. */
export function tellNotAllowed(list, sentences) {
  list.hidden = !sentences.length;
  list.replaceChildren(...sentences.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

/** Offer what the policy allows of the clipboard: "both" ways, "in", "out", or "" for none. */
export function ways({ clipboard_in, clipboard_out }) {
  return clipboard_in && clipboard_out ? "both" : (clipboard_in && "in") || (clipboard_out && "out") || "";
}

/** SSH carries files and copies both ways, and a native viewer comes through it: offer it where all of that is allowed. */
export function offerSsh(page, { clipboard_in, clipboard_out, files_in, files_out }) {
  const open = clipboard_in && clipboard_out && files_in && files_out;
  for (const way of page.querySelectorAll("[data-by-ssh]")) way.hidden = !open;
  for (const words of page.querySelectorAll("[data-no-ssh]")) words.hidden = open;
}

/** The clipboard's panel, for a desktop as the API tells of it. */
export function offerClipboard(panel, { policy, not_allowed }) {
  const way = ways(policy);
  const [label, text] = [panel.querySelector("label"), panel.querySelector("textarea")];
  label.hidden = text.hidden = !way;
  text.readOnly = !policy.clipboard_in;
  put(label, LABELS[way] ?? "");
  tellNotAllowed(panel.querySelector("[data-not-allowed]"), not_allowed);
}
