// One's account: API tokens, and programs that are signed in from the browser.
import { addActions } from "./actions.js";
import { call } from "./api.js";
import { ask, field } from "./confirm.js";
import { refresh } from "./live.js";
import { say } from "./toast.js";

addActions({
  "make-token": async ({ dataset }) => {
    const rights = Object.entries(JSON.parse(dataset.rights));
    const made = await ask({
      title: "New API token",
      text: "It can always see your sessions. What else may it do?",
      yes: "Make it",
      fields: [
        field("What for", { name: "name", required: true, maxLength: 64, placeholder: "my notebook" }),
        boxes(rights),
        field("Days that it lasts", { name: "days", type: "number", min: 1, max: 366, value: 90, required: true }),
      ],
      send: (answer) => {
        const chosen = rights.map(([right]) => right).filter((right) => answer[right]);
        return call("POST", "/me/tokens", { name: answer.name, rights: chosen, days: Number(answer.days) });
      },
    });
    if (!made) return;
    const dialog = document.getElementById("token-made");
    dialog.querySelector("[data-secret]").textContent = made.token;
    dialog.showModal();
    dialog.addEventListener("close", () => { dialog.querySelector("[data-secret]").textContent = ""; }, { once: true });
    refresh();
  },
  "revoke-token": async ({ dataset }) => {
    const sure = await ask({ title: `Revoke ${dataset.name}?`, text: "The program that uses it is signed out at once, and what it opened is closed.", yes: "Revoke it", no: "Keep it", danger: true });
    if (!sure) return;
    await call("DELETE", `/me/tokens/${dataset.token}`);
    say(`${dataset.name} was revoked.`);
    refresh();
  },
  decide: async ({ dataset }) => {
    const allow = dataset.allow === "true";
    const { program } = await call("POST", `/device/${dataset.code}`, { allow });
    document.querySelector(".consent").replaceChildren(line("h1", allow ? "Signed in" : "Refused"), line("p", allow ? `${program} is signed in. You can close this page and go back to it.` : `${program} was not signed in.`));
  },
});

function line(kind, text) {
  return Object.assign(document.createElement(kind), { textContent: text });
}

/** A box to tick for each of [name, text]. */
function boxes(choices) {
  const group = Object.assign(document.createElement("fieldset"), { className: "tick-boxes" });
  for (const [name, text] of choices) {
    const label = document.createElement("label");
    label.append(Object.assign(document.createElement("input"), { type: "checkbox", name, className: "form-check-input" }), ` ${text}`);
    group.append(label);
  }
  return group;
}
