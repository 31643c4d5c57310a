"""Signing out at the provider: OpenID Connect RP-Initiated Logout 1.0, and Back-Channel Logout 1.0 the other way."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import structlog
from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from broker.database import now
from broker.errors import LogoutRefused, ProviderFault, ProviderUnreachable
from broker.identity import sealing
from broker.identity.arrivals import TOKENS
from broker.identity.models import Identity, LogoutNotice, SignIn, User
from broker.identity.providers import Provider, provider
from broker.identity.service import digest
from broker.identity.sign_ins import end, living
from broker.runtime import Runtime

log = structlog.get_logger()

EVENT = "http://schemas.openid.net/event/backchannel-logout"
GOOD_FOR = 120  # seconds after it was made; the clocks' difference comes on top
LONGEST = 16 * 1024


def address_at_provider(runtime: Runtime, sign_in_id: int | None, back_to: str) -> str | None:
    """Where the browser ends this sign-in at its provider, too; None where it has none, or the provider offers none."""
    with runtime.database.reading() as db:
        entry = db.get(SignIn, sign_in_id) if sign_in_id is not None else None
        identity = db.get(Identity, entry.identity_id) if entry is not None and entry.identity_id else None
    if entry is None or identity is None or identity.provider not in runtime.settings.identity.providers:
        return None
    asked = provider(runtime.settings, identity.provider)
    try:
        address = asked.metadata().end_session_endpoint
    except ProviderFault:
        return None  # it is away: signing out here must work all the same
    tokens = sealing.unseal(runtime.settings.secrets_dir, TOKENS, entry.sealed_tokens or "") or {}
    told = {"client_id": asked.settings.client_id, "post_logout_redirect_uri": back_to}
    hint = {"id_token_hint": tokens["id"]} if tokens.get("id") else {}
    return f"{address}{'&' if '?' in address else '?'}{urlencode({**hint, **told})}" if address else None


def by_provider(runtime: Runtime, name: str, logout_token: str) -> list[int]:
    """End the sign-ins that a provider's logout token names, their live pages and open desktops; their ids."""
    asked = provider(runtime.settings, name)
    claims = logout_claims(asked, logout_token)
    try:
        with runtime.database.transaction() as db:
            _note_use(db, asked, claims["jti"])
            found = _named(db, asked, claims)
            for sign_in_id, user_name in found:
                end(db, [sign_in_id], "account:logged-out", user_name)
    except IntegrityError:
        raise LogoutRefused("This logout token was used already.") from None
    log.info("logout.by-provider", provider=name, ended=len(found))
    return [sign_in_id for sign_in_id, _ in found]


def logout_claims(asked: Provider, logout_token: str) -> dict[str, Any]:
    """What a logout token claims, or LogoutRefused (Back-Channel Logout 1.0, 2.6)."""
    if len(logout_token) > LONGEST:
        raise LogoutRefused("This is no logout token of ours.")
    try:
        opened = asked.opened(logout_token)
        _registry(asked).validate(opened.claims)
    except ProviderUnreachable:
        raise
    except (ProviderFault, JoseError, TypeError, ValueError) as error:
        raise LogoutRefused(f"This logout token is not good: {str(error)[:200]}.") from None
    claims = dict(opened.claims)
    wrong = _mistake(claims, opened.header.get("typ", "logout+jwt"))
    age = time.time() - claims["iat"]
    if age > GOOD_FOR + asked.settings.clock_skew_seconds:
        wrong = "it is too old"
    if wrong:
        raise LogoutRefused(f"This logout token is not good: {wrong}.")
    return claims


def _registry(asked: Provider) -> JWTClaimsRegistry:
    return JWTClaimsRegistry(
        leeway=asked.settings.clock_skew_seconds,
        iss={"essential": True, "value": asked.settings.issuer},
        aud={"essential": True, "value": asked.settings.client_id},
        iat={"essential": True},
        jti={"essential": True},
        events={"essential": True},
    )


def _mistake(claims: dict[str, Any], kind: Any) -> str | None:
    """What the specification forbids, in words; an ID token must never pass for a logout token."""
    if "nonce" in claims:
        return "it has a nonce"
    if str(kind).lower() not in ("logout+jwt", "jwt"):
        return "it is of another kind"
    if not isinstance(claims["events"], dict) or not isinstance(claims["events"].get(EVENT), dict):
        return "it tells of no logout"
    if not isinstance(claims["jti"], str) or isinstance(claims["iat"], bool) or not _is_number(claims["iat"]):
        return "its jti or iat is none"
    if not any(isinstance(claims.get(key), str) and claims[key] for key in ("sid", "sub")):
        return "it names nobody"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _note_use(db: Session, asked: Provider, jti: str) -> None:
    """Remember the token for as long as it would be good; the same one again breaks the primary key."""
    longest = timedelta(seconds=GOOD_FOR + 2 * asked.settings.clock_skew_seconds + 60)
    db.execute(delete(LogoutNotice).where(LogoutNotice.at < now() - max(longest, timedelta(minutes=25))))
    db.add(LogoutNotice(digest=digest(f"{asked.settings.issuer}\0{jti}")))
    db.flush()


def _named(db: Session, asked: Provider, claims: dict[str, Any]) -> list[tuple[int, str]]:
    """The living sign-ins of that `sid`, or all of that `sub` where no `sid` is named."""
    found = (
        select(SignIn.id, User.name)
        .join(Identity, Identity.id == SignIn.identity_id)
        .join(User, User.id == SignIn.user_id)
        .where(Identity.issuer == asked.settings.issuer, *living())
    )
    if claims.get("sub"):
        found = found.where(Identity.subject == claims["sub"])
    if claims.get("sid"):
        found = found.where(SignIn.sid == claims["sid"])
    return [(row[0], row[1]) for row in db.execute(found)]
