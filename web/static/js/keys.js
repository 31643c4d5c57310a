// One's own SSH keys: add, remove.
import { addActions } from "./actions.js";
import { call } from "./api.js";
import { ask, field } from "./confirm.js";
import { refresh } from "./live.js";
import { say } from "./toast.js";

addActions({
  "add-key": async () => {
    const key = await ask({
      title: "Add a key",
      text: "Paste the one line of the file that ends with .pub, as of ~/.ssh/id_ed25519.pub. To make a key: ssh-keygen -t ed25519",
      yes: "Add",
      fields: [
        field("Name", { name: "name", required: true, maxLength: 64, placeholder: "My laptop" }),
        field("Public key", { name: "public_key", required: true, maxLength: 8192, placeholder: "ssh-ed25519 AAAA…", autocomplete: "off", spellcheck: false }),
      ],
      send: (answer) => call("POST", "/me/keys", answer),
    });
    if (!key) return;
    say(`${key.name} was added.`);
    refresh();
  },
  "remove-key": async ({ dataset }) => {
    const sure = await ask({ title: `Remove ${dataset.title}?`, text: "SSH connections that are open by this key are closed, and its SSH files open nothing any more.", yes: "Remove it", no: "Keep it", danger: true });
    if (!sure) return;
    await call("DELETE", `/me/keys/${dataset.key}`);
    say(`${dataset.title} was removed.`);
    refresh();
  },
});
