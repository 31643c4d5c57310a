// A key pair as OpenSSH writes it (PROTOCOL.key in its source), made by WebCrypto.

/** A new key pair: Ed25519 where the browser has it, else ECDSA. Rejects where pages may make no keys (no https). */
export async function newKey(comment) {
  const { kind, blob, secret } = await ed25519().catch(ecdsa);
  const check = crypto.getRandomValues(new Uint8Array(4));
  const inner = padded(join(check, check, blob, secret, string(text(comment))));
  const file = join(text("openssh-key-v1\0"), string(text("none")), string(text("none")), string(text("")), number(1), string(blob), string(inner));
  const lines = base64(file).match(/.{1,70}/g).join("\n");
  return {
    publicKey: `${kind} ${base64(blob)}`,
    privateKey: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines}\n-----END OPENSSH PRIVATE KEY-----\n`,
  };
}

async function ed25519() {
  const { privateKey } = await crypto.subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"]);
  const { x, d } = await crypto.subtle.exportKey("jwk", privateKey);
  const [point, seed] = [bytes(x), bytes(d)];
  const kind = "ssh-ed25519";
  return { kind, blob: join(string(text(kind)), string(point)), secret: string(join(seed, point)) };
}

async function ecdsa() {
  const { privateKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const { x, y, d } = await crypto.subtle.exportKey("jwk", privateKey);
  const kind = "ecdsa-sha2-nistp256";
  const blob = join(string(text(kind)), string(text("nistp256")), string(join([4], bytes(x), bytes(y))));
  return { kind, blob, secret: string(positive(bytes(d))) };
}

const text = (words) => new TextEncoder().encode(words);
const number = (value) => new Uint8Array([value >>> 24, value >>> 16, value >>> 8, value]);
const string = (content) => join(number(content.length), content);
const join = (...parts) => new Uint8Array(parts.flatMap((part) => [...part]));
const bytes = (base64url) => Uint8Array.from(atob(base64url.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
const base64 = (content) => btoa(String.fromCharCode(...content));

/** A positive number as SSH writes one: no zeros in front but one where the first bit is set (RFC 4251, section 5). */
function positive(value) {
  const digits = value.slice(value.findIndex((each) => each));
  return digits[0] & 0x80 ? join([0], digits) : digits;
}

/** To a whole number of blocks of 8 bytes, by 1, 2, 3, and so on. */
function padded(content) {
  return join(content, Array.from({ length: -content.length & 7 }, (_, place) => place + 1));
}
