// Short messages in a corner; read out by screen readers.

/** Show `text`, with `hint` under it; `danger` ones stay until they are closed. */
export function say(text, { hint = "", danger = false } = {}) {
  const toast = document.createElement("div");
  toast.className = `note ${danger ? "note-danger" : "note-good"}`;
  toast.setAttribute("role", danger ? "alert" : "status");
  const words = document.createElement("p");
  const strong = document.createElement("strong");
  strong.textContent = text;
  words.append(strong, hint && document.createElement("br"), hint);
  const close = document.createElement("button");
  close.type = "button";
  close.className = "btn-close";
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => toast.remove());
  toast.append(words, close);
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), danger ? 20000 : 5000);
}

/** Show an error that the API answered. */
export function sayProblem(problem) {
  say(problem.message, { hint: problem.hint, danger: true });
}
