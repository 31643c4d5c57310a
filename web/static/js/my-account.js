// Your account: sign-ins that are ended, identities that are added.
import { addActions } from "./actions.js";
import { call, leave } from "./api.js";
import { ask } from "./confirm.js";
import { refresh } from "./live.js";
import { say } from "./toast.js";

const kinds = new Set(["account"]);

addActions({
  "end-sign-in": async ({ dataset }) => {
    await call("DELETE", `/me/sign-ins/${dataset.signIn}`);
    say(`${dataset.program} is signed out.`);
    refresh(kinds);
  },
  "end-other-sign-ins": async () => {
    const sure = await ask({
      title: "Sign out everywhere else?",
      text: "Pages and desktops that are open there are closed. The desktops themselves go on.",
      yes: "Sign them out",
      no: "Cancel",
      danger: true,
    });
    if (!sure) return;
    await call("DELETE", "/me/sign-ins");
    say("You are signed in here only.");
    refresh(kinds);
  },
  "remove-identity": async ({ dataset: { provider, title } }) => {
    const sure = await ask({
      title: `Remove ${title}?`,
      text: "Nobody signs in to your account with it any more. Where you are signed in with it, perhaps here, you are signed out. Groups that it gave you go with it.",
      yes: "Remove it",
      no: "Keep it",
      danger: true,
      send: async () => { await call("DELETE", `/me/identities/${provider}`); return true; },
    });
    if (!sure) return;
    say(`${title} was removed.`);
    refresh(kinds);
  },
  "add-identity": async ({ dataset }) => {
    const { continue_at: address } = await call("POST", `/me/identities/${dataset.provider}`);
    await leave(address);
  },
});
