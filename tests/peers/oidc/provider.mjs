// A real OpenID provider: `node provider.mjs PORT USERS CLIENT_SECRET APP KIND`.
// USERS is a JSON file of people and their claims, read afresh each time that one is asked for; any password is good.
// APP is where Beamdesk is. KIND is "userinfo" (claims at userinfo, as most providers do) or "token" (in the ID token,
// and there is no userinfo). Each start makes new signing keys.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Provider } from "oidc-provider";

const [port, users, secret, app, kind] = process.argv.slice(2);
const name = kind === "token" ? "other" : "facility";
const key = { ...generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };

const oidc = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: "beamdesk",
    client_secret: secret,
    redirect_uris: [`${app}/sign-in/${name}/callback`],
    post_logout_redirect_uris: [`${app}/sign-in`],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    backchannel_logout_uri: `${app}/sign-in/${name}/logout`,
    backchannel_logout_session_required: true,
  }],
  jwks: { keys: [key] },
  scopes: ["openid", "email", "profile", "groups", "wlcg.groups", "eduperson_entitlement", "voperson_id"],
  claims: {
    openid: ["sub"],
    email: ["email", "email_verified"],
    profile: ["name", "preferred_username"],
    groups: ["groups"],
    "wlcg.groups": ["wlcg.groups"],
    eduperson_entitlement: ["eduperson_entitlement"],
    voperson_id: ["voperson_id"],
  },
  conformIdTokenClaims: kind !== "token",
  pkce: { required: () => true },
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    userinfo: { enabled: kind !== "token" },
  },
  // Names of its own: browsers do not tell ports apart, and there are two of us.
  cookies: { keys: ["for tests only"], names: { session: `${name}_session`, interaction: `${name}_interaction`, resume: `${name}_resume` } },
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed("refresh_token"),
  rotateRefreshToken: true,
  // Its guard against server-side request forgery refuses loopback addresses, where Beamdesk is in tests.
  fetch: (url, { dispatcher, agent, ...options } = {}) => globalThis.fetch(url, options),
  // Nobody is asked for consent: the facility's own provider trusts the facility's own service.
  loadExistingGrant: async (ctx) => {
    const { client, session } = ctx.oidc;
    const existing = session.grantIdFor(client.clientId);
    const grant = (existing && (await ctx.oidc.provider.Grant.find(existing))) || new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(ctx.oidc.params.scope);
    await grant.save();
    return grant;
  },
  findAccount: async (ctx, id) => {
    const known = JSON.parse(readFileSync(users))[id];
    return known && { accountId: id, claims: async () => ({ sub: id, ...known }) };
  },
});
oidc.on("server_error", (ctx, error) => console.error("server_error", error));
oidc.on("backchannel.error", (ctx, error) => console.error("backchannel.error", error));
oidc.listen(Number(port), "127.0.0.1", () => console.log("ready"));
