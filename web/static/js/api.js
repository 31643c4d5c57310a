// The one way in which pages speak with the API. An error is thrown as a Problem with what the API said.

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? "Beamdesk does not answer.");
    this.status = status;
    this.hint = body.hint ?? "";
    this.code = body.code ?? "";
    this.facts = body;
  }
}

/** Call `/api/v1` + path; the answer's JSON. Nobody signed in: the sign-in page, and back here afterwards. */
export async function call(method, path, body) {
  const response = await send(method, path, body);
  if (response.status === 401) {
    toSignIn();
    return new Promise(() => {});
  }
  if (!response.ok) {
    throw new Problem(response.status, await response.json().catch(() => ({})));
  }
  return response.status === 204 ? null : response.json();
}

async function send(method, path, body) {
  const headers = { "X-Requested-With": "beamdesk" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
  }
  try {
    return await fetch(`/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Problem(0, { detail: "Beamdesk does not answer.", hint: "Check your network, then try again." });
  }
}

let leaving = false; // for a page that somebody chose, or the sign-in page

/** Go to `address`, or where `last` says, once that is done; from now on nothing else leads away from this page. */
export async function leave(address, last = async () => {}) {
  leaving = true;
  let instead;
  try {
    instead = await last();
  } catch (problem) {
    leaving = false;
    throw problem;
  }
  location.assign(instead ?? address);
}

/** Go to the sign-in page, and come back to this one afterwards; not where the page is on its way already. */
export function toSignIn() {
  if (!leaving) leave(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

window.addEventListener("pageshow", ({ persisted }) => { if (persisted) leaving = false; });
