// The SSH file of a session. Its key pair is made here, and the private half never leaves this browser.
import { Problem, call } from "./api.js";
import { newKey } from "./ssh-key.js";

/** Download the file: for a registered key, or for a new one that it then holds. */
export async function sshFile(session, key = null) {
  const made = key ? null : await newKey(`beamdesk-${session}`).catch(() => { throw noKeys(); });
  const wish = key ? { key } : { public_key: made.publicKey };
  const { config, key_file: file } = await call("POST", `/sessions/${session}/certificates`, wish);
  download(`beamdesk-${session}.conf`, made ? `${bring(file, made.privateKey)}${config}` : config);
}

function noKeys() {
  const hint = "Register a key of your own under “SSH keys”, in the menu of your name, and choose it here.";
  return new Problem(0, { detail: "This browser makes no keys on this page.", hint });
}

/** What lets ssh bring the private key to where it reads it, in every user's shell. */
function bring(file, privateKey) {
  const path = `'%d/.ssh/${file}'`;
  const text = `echo ${btoa(privateKey)} | base64 -d`;
  return `# The key in this file is as good as a password. Keep it to yourself.
Match originalhost desktop exec "umask 077; mkdir -p '%d/.ssh'; ${text} 2> /dev/null | cmp -s - ${path} || ${text} > ${path}"
    IdentitiesOnly yes
`;
}

function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Offer the registered keys beside a new one; nothing is shown where there are none. */
export async function offerKeys(label) {
  const keys = await call("GET", "/me/keys");
  label.hidden = !keys.length;
  label.querySelector("select").replaceChildren(
    new Option("a new one, in the file", ""),
    ...keys.map(({ id, name, kind }) => new Option(`${name} (${kind})`, id)),
  );
}
