// Handing a session over: the offer, what it means in words, and the answer.
import { call } from "./api.js";
import { ask, field } from "./confirm.js";
import { onChange, refresh } from "./live.js";
import { say } from "./toast.js";

const kinds = new Set(["handover", "session", "share"]);

/** What handing over means to the giver. `account` is its owner's name, where the session is not in the giver's own. */
const giving = (account) => [
  "Who accepts, within 15 minutes, owns it: you can open, extend and end it no longer, and what you have open of it closes.",
  account
    ? underAnother(account)
    : "It goes on under your account. Who has it works in your name, and can read, change and delete the files in your home; and may share it, or hand it on.",
  "Sign out in it of whatever the other one should not have: mail, a web page, a password that is kept.",
  "Your guests and links go, and your SSH and Remote Desktop files open it no longer.",
  "Only what both of you may do with a desktop can be done with it.",
];

/** And where an administrator does it in the name of its `owner`. */
const givingForThem = (owner, account) => [
  `Who accepts, within 15 minutes, owns it: ${owner} can open, extend and end it no longer, and what is open of it closes.`,
  underAnother(account),
  "Guests and links go, and SSH and Remote Desktop files of before open it no longer.",
];

const underAnother = (account) => `It goes on under the account of ${account}. Who has it works in that name, with the files in that home.`;

/** Offer the session of this button to another member of its group; `owner` where it is somebody else's, who reads why. */
export async function handOver({ dataset: { session, title, group, account, owner } }) {
  const offer = await ask({
    title: `Hand ${title} over`,
    text: `To another member of ${group}. Programs that run in it go on.${owner ? ` ${owner} is told, and can withdraw it.` : ""}`,
    yes: "Offer it",
    fields: [
      list(owner ? givingForThem(owner, account) : giving(account)),
      field("To (account name)", { name: "user", required: true, maxLength: 64, autocomplete: "off", autocapitalize: "none", spellcheck: false, placeholder: "grace" }),
      ...(owner ? [field(`Why (${owner} reads it)`, { name: "reason", required: true, minLength: 3, maxLength: 300 })] : []),
    ],
    send: ({ user, reason }) => call("POST", `/sessions/${session}/handovers`, { user: user.trim(), reason }),
  });
  if (!offer) return;
  say(`${title} is offered to ${offer.receiver_name}.`, { hint: "It is on their pages. Until it is accepted, nothing changes." });
  refresh(kinds);
}

/** Accept what is offered to me, once I have read what it means. */
export async function acceptHandover({ dataset }) {
  const offer = (await call("GET", "/handovers")).find(({ id }) => id === Number(dataset.handover));
  const accepted = await ask({
    title: `Accept ${offer.title}?`,
    text: `${offer.giver_name} hands no. ${offer.session} over to you.`,
    yes: "Accept it",
    no: "Not now",
    fields: [list(offer.terms), tick("I have read this")],
    send: () => call("POST", `/handovers/${offer.id}`, { answer: "accepted" }),
  });
  if (accepted) say(`${accepted.title} is yours now.`);
  refresh(kinds);
}

export async function refuseHandover({ dataset }) {
  const { giver_name: giver } = await call("POST", `/handovers/${dataset.handover}`, { answer: "refused" });
  say(`${giver} keeps it.`);
  refresh(kinds);
}

export async function withdrawHandover({ dataset }) {
  await call("DELETE", `/handovers/${dataset.handover}`);
  say("It is offered no longer.");
  refresh(kinds);
}

/** Over a desktop, where there is no room for notices: say what is offered to me, and what is offered in my name. */
export function tellOffers() {
  const told = new Set();
  const look = async () => {
    const open = (await call("GET", "/handovers")).filter(({ id, state }) => state === "open" && !told.has(id));
    if (!open.length) return;
    const { name: me } = await call("GET", "/me");
    for (const { id, giver, giver_name: from, receiver, receiver_name: to, made_by: admin, session, title } of open) {
      told.add(id);
      if (receiver === me) say(`${from} hands a desktop over to you: ${title}.`, { hint: "Accept or refuse it on your start page." });
      else if (admin && giver === me) say(`${admin}, an administrator, offers your desktop no. ${session} to ${to}.`, { hint: "You can withdraw that on your start page." });
    }
  };
  onChange((changed) => { if (changed === null || changed.has("handover")) look().catch(() => {}); });
}

function list(sentences) {
  const items = sentences.map((sentence) => Object.assign(document.createElement("li"), { textContent: sentence }));
  const made = Object.assign(document.createElement("ul"), { className: "terms" });
  made.append(...items);
  return made;
}

function tick(text) {
  const label = Object.assign(document.createElement("label"), { className: "terms-read" });
  label.append(Object.assign(document.createElement("input"), { type: "checkbox", required: true, className: "form-check-input" }), ` ${text}`);
  return label;
}
