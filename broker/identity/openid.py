"""Sign-in by OpenID Connect: authorization code with PKCE, as the provider's client.

What must be known again when the browser comes back (state, nonce, PKCE verifier, where to go on) is kept by the
browser itself, sealed, for ten minutes. So an answer counts only in the browser that asked for it; a flood of sign-ins
that are begun and never finished costs the broker nothing; any web process can finish what another began. That one
answer is not used twice is the provider's part: a code is redeemed once, and only with the verifier of this cookie.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError

from broker.errors import BrokerError, SignInBroken, SignInRefused
from broker.identity import sealing
from broker.identity.claims import Claims, merged
from broker.identity.providers import Provider, provider
from broker.runtime import Runtime

MINUTES = 10
LONGEST_WANTED = 1000  # characters of the address to go on to: a cookie holds 4096 bytes
PURPOSE = "sign-in"
# Errors of RFC 6749 and OpenID Connect that are not about the person.
OURS = frozenset(
    (
        *("invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "unsupported_response_type"),
        *("unsupported_grant_type", "server_error", "temporarily_unavailable", "request_not_supported"),
    )
)


@dataclass(frozen=True)
class Begun:
    """A sign-in that waits for the provider's answer; `linking` is the sign-in that adds an identity to its account."""

    provider: str
    wanted: str
    linking: int | None = None
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))


@dataclass(frozen=True)
class Told:
    """What a provider told us of a person, proved to be its word."""

    provider: str
    issuer: str
    subject: str
    claims: Mapping[str, Any]
    sid: str | None
    id_token: str
    refresh_token: str | None


def begin(
    runtime: Runtime, name: str, redirect_uri: str, wanted: str, *, linking: int | None = None
) -> tuple[str, str]:
    """Where to send the browser, and what it must keep meanwhile."""
    asked = provider(runtime.settings, name)
    begun = Begun(name, wanted if len(wanted) <= LONGEST_WANTED else "/", linking)
    address, _ = asked.session(redirect_uri).create_authorization_url(
        asked.metadata().authorization_endpoint,
        state=begun.state,
        nonce=begun.nonce,
        code_verifier=begun.verifier,
        **({"prompt": "consent"} if "offline_access" in asked.settings.scopes else {}),
    )
    return address, sealing.seal(runtime.settings.secrets_dir, PURPOSE, asdict(begun))


def begun(runtime: Runtime, name: str, kept: str, answer: Mapping[str, str]) -> Begun:
    """The sign-in that this browser began and this answer is for, or SignInBroken."""
    found = sealing.unseal(runtime.settings.secrets_dir, PURPOSE, kept, seconds=MINUTES * 60) if kept else None
    if found is None:
        raise SignInBroken(
            "This browser has begun no sign-in, or one that took too long.",
            hint=f"Sign in again, in this browser and within {MINUTES} minutes; it must accept cookies.",
        )
    known = Begun(**found)
    if known.provider != name or not hmac.compare_digest(known.state.encode(), answer.get("state", "").encode()):
        raise SignInBroken(
            "This answer belongs to another sign-in than the one that this browser began last.",
            hint="Sign in again.",
        )
    return known


def finish(runtime: Runtime, known: Begun, redirect_uri: str, answer: Mapping[str, str]) -> Told:
    """Redeem the answer's code: what the provider tells of the person, checked."""
    asked = provider(runtime.settings, known.provider)
    _must_be_of(asked, answer)
    if "error" in answer:
        raise refusal(asked, answer["error"], answer.get("error_description", ""))
    if not answer.get("code"):
        raise asked.fault("its answer has no code")
    client, endpoint = asked.session(redirect_uri), asked.metadata().token_endpoint
    try:
        with asked.asking():
            token = client.fetch_token(endpoint, code=answer["code"], code_verifier=known.verifier)
    except OAuthError as error:
        raise refusal(asked, error.error, error.description) from None
    return told(asked, client, token, nonce=known.nonce)


def renew(asked: Provider, refresh_token: str, subject: str) -> Told:
    """What the provider says by now of somebody who signed in before; SignInRefused where it no longer does."""
    client, endpoint = asked.session(), asked.metadata().token_endpoint
    client.scope = None  # that is, what the person agreed to
    try:
        with asked.asking():
            token = client.refresh_token(endpoint, refresh_token=refresh_token)
    except OAuthError as error:
        raise refusal(asked, error.error, error.description) from None
    return told(asked, client, token, nonce=None, subject=subject)


def told(asked: Provider, client: Any, token: Mapping[str, Any], *, nonce: str | None, subject: str = "") -> Told:
    """The ID token and userinfo, as one. A refresh may bring no ID token: `subject` is then who it must be about."""
    id_token = token.get("id_token")
    if not isinstance(id_token, str) and not subject:
        raise asked.fault("its answer has no ID token")
    claims = id_claims(asked, id_token, nonce, token.get("access_token")) if id_token else {"sub": subject}
    address = asked.metadata().userinfo_endpoint
    userinfo: Claims = asked.get_json(address, client) if address else {}
    if (userinfo and userinfo.get("sub") != claims["sub"]) or subject not in ("", claims["sub"]):
        raise asked.fault("it tells of another person than the one who signed in")
    sid = claims.get("sid")
    return Told(
        provider=asked.name,
        issuer=asked.settings.issuer,
        subject=_subject(asked, claims["sub"]),
        claims=merged(claims, userinfo),
        sid=sid if isinstance(sid, str) and len(sid) <= 255 else None,
        id_token=id_token or "",
        refresh_token=token.get("refresh_token"),
    )


def id_claims(asked: Provider, id_token: str, nonce: str | None, access_token: str | None) -> dict[str, Any]:
    """The ID token's claims: of this provider, for us, now, for this very sign-in (OpenID Connect Core 3.1.3.7)."""
    opened = asked.opened(id_token)
    expected: dict[str, Any] = {
        "iss": {"essential": True, "value": asked.settings.issuer},
        "aud": {"essential": True, "value": asked.settings.client_id},
        "sub": {"essential": True},
    }
    about = {"nonce": nonce, "client_id": asked.settings.client_id, "access_token": access_token}
    claims = CodeIDToken(opened.claims, opened.header, expected, about)
    try:
        claims.validate(leeway=asked.settings.clock_skew_seconds)
    except (JoseError, ValueError, TypeError) as error:
        raise asked.fault(f"its ID token is not good ({str(error)[:200]})") from None
    return dict(claims)


def _must_be_of(asked: Provider, answer: Mapping[str, str]) -> None:
    """RFC 9207: another provider's answer, slipped in here, would make us send it this one's code."""
    issuer = answer.get("iss")
    if issuer is None and not asked.metadata().authorization_response_iss_parameter_supported:
        return
    if issuer != asked.settings.issuer:
        raise asked.fault("the answer is another provider's")


def _subject(asked: Provider, subject: Any) -> str:
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise asked.fault("it gives the person no proper subject")
    return subject


def refusal(asked: Provider, error: str, description: str | None) -> BrokerError:
    """The provider's no to the person (SignInRefused), or to us (ProviderFault); its words are cut."""
    words = {
        "access_denied": "the sign-in was cancelled there, or it does not let you in here",
        "login_required": "it wants you to sign in there first",
        "invalid_grant": "the sign-in was used already, took too long, or was withdrawn",
    }
    if error in OURS:
        return asked.fault(f"it answers {error!r}", "client_id")
    said = " ".join("".join(c if c.isprintable() else " " for c in description or "").split())[:200]
    why = words.get(error, f"it answers {error[:60]!r}")
    return SignInRefused(
        f"{asked.settings.title} did not sign you in: {why}.",
        hint=f"Sign in again.{f' It says: {said}' if said else ''}",
        reason=error[:60],
    )
