// Asks before something is done.

/**
 * Ask; the form's values where the answer is yes, null otherwise.
 * `fields` are elements to show between the text and the buttons; named ones come back as values.
 */
export function ask({ title, text, yes, no = "Cancel", danger = false, fields = [] }) {
  const dialog = document.getElementById("confirm");
  const button = dialog.querySelector("[data-yes]");
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector("[data-text]").textContent = text;
  dialog.querySelector("[data-fields]").replaceChildren(...fields);
  dialog.querySelector("[data-no]").textContent = no;
  button.textContent = yes;
  button.className = `btn ${danger ? "btn-danger" : "btn-primary"}`;
  dialog.returnValue = "no";
  dialog.showModal();
  const first = fields.length ? "[data-fields] input, [data-fields] select" : danger ? "[data-no]" : "[data-yes]";
  dialog.querySelector(first).focus(); // Enter alone does nothing that cannot be undone
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(dialog.querySelector("form"))) : null);
    }, { once: true });
  });
}

/** A labelled field for `ask`. */
export function field(label, attributes) {
  const wrap = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { className: "form-control", ...attributes });
  wrap.append(label, input);
  return wrap;
}

/** A labelled choice for `ask`; options are [value, text]. */
export function choice(label, name, options) {
  const wrap = document.createElement("label");
  const select = Object.assign(document.createElement("select"), { className: "form-select", name });
  select.append(...options.map(([value, text]) => new Option(text, value)));
  wrap.append(label, select);
  return wrap;
}
