// Asks before something is done.

/**
 * Ask; what `send` made of the form's values where the answer is yes (the values where there is no `send`), else null.
 * `fields` are elements to show between the text and the buttons; named ones come back as values. What `send` throws is
 * shown in the dialog, which stays open with all that was typed.
 */
export function ask({ title, text, yes, no = "Cancel", danger = false, fields = [], send = async (values) => values }) {
  const dialog = document.getElementById("confirm");
  const form = dialog.querySelector("form");
  const button = dialog.querySelector("[data-yes]");
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector("[data-text]").textContent = text;
  dialog.querySelector("[data-fields]").replaceChildren(...fields);
  Object.assign(dialog.querySelector("[data-no]"), { textContent: no, onclick: () => dialog.close() });
  button.textContent = yes;
  button.className = `btn ${danger ? "btn-danger" : "btn-primary"}`;
  showProblem(dialog, null);
  dialog.showModal();
  const first = fields.length ? "[data-fields] input, [data-fields] select" : danger ? "[data-no]" : "[data-yes]";
  dialog.querySelector(first).focus(); // Enter alone does nothing that cannot be undone
  return new Promise((resolve) => {
    let answer = null;
    form.onsubmit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      try {
        answer = await send(Object.fromEntries(new FormData(form)));
        dialog.close();
      } catch (problem) {
        showProblem(dialog, problem);
      } finally {
        button.disabled = false;
      }
    };
    dialog.addEventListener("close", () => resolve(answer), { once: true });
  });
}

function showProblem(dialog, problem) {
  const line = dialog.querySelector("[data-problem]");
  line.hidden = !problem;
  line.querySelector("strong").textContent = problem?.message ?? "";
  line.querySelector("span").textContent = problem?.hint ?? "";
  if (problem) line.scrollIntoView({ block: "nearest" });
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
