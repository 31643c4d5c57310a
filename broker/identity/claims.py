"""What a provider's claims say of a person, by its settings: pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from broker.settings import ProviderSettings

Claims = Mapping[str, Any]

MOST_GROUPS, LONGEST_GROUP = 500, 128
LONGEST_NAME = 31
# Of the ID token alone: userinfo has no say in who the person is, and how and when they proved it.
OF_THE_TOKEN = ("iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "sid", "acr", "amr", "azp", "auth_time", "at_hash")
# AARC-G069: urn:NAMESPACE:group:GROUP[:SUBGROUP...][:role=ROLE][#AUTHORITY], each part percent-encoded.
ENTITLEMENT = re.compile(
    r"^(?P<namespace>urn:[^#]+?):group:(?P<group>[^#]+?)(?::role=(?P<role>[^#:]+))?(?:#(?P<authority>[^#]*))?$",
    re.IGNORECASE,
)
# Accounts that a machine may have by itself: nobody may become one of them there.
_RESERVED = """
    root daemon bin sys sync games man lp mail news uucp proxy backup list irc gnats nobody sshd messagebus avahi
    polkitd rtkit pulse colord lightdm xrdp postgres redis ubuntu debian admin administrator wheel sudo staff users
    beamdesk service system operator centos rocky almalinux fedora ec2-user azureuser cloud-user opc dbus tss chrony
    munge slurm ntp statd rpc usbmux geoclue saned dnsmasq libvirt-qemu nm-openvpn adm disk tty kmem"""
RESERVED = frozenset(_RESERVED.split())


@dataclass(frozen=True)
class Profile:
    """A person, as a provider describes them and its settings read it."""

    wanted_name: str
    full_name: str
    groups: frozenset[str]
    is_admin: bool
    identifier: str | None
    may_enter: bool


def merged(token: Claims, userinfo: Claims) -> dict[str, Any]:
    """Both, where userinfo is the fresher word on the person and the ID token the only one on the sign-in."""
    return {**token, **{key: value for key, value in userinfo.items() if key not in OF_THE_TOKEN}}


def profile(claims: Claims, settings: ProviderSettings) -> Profile:
    """What these claims say, by the provider's settings."""
    groups = local_groups(claims, settings)
    name = _text(claims, settings.name_claim)
    return Profile(
        wanted_name=account_name(name or _text(claims, "email") or "user"),
        full_name=(_text(claims, settings.full_name_claim) or name or "User")[:128],
        groups=groups,
        is_admin=not groups.isdisjoint(settings.admin_groups),
        identifier=identifier(claims, settings.linked_by),
        may_enter=not settings.only_groups or not groups.isdisjoint(settings.only_groups),
    )


def local_groups(claims: Claims, settings: ProviderSettings) -> frozenset[str]:
    """The person's groups, by the names that they have here."""
    found: set[str] = set()
    for claim in settings.group_claims:
        for value in _texts(look_up(claims, claim)):
            found |= set(_groups_of(value, settings.entitlement_namespaces))
    kept = (settings.groups.get(group) or (group if settings.keep_other_groups else None) for group in found)
    named = {group for group in kept if group and len(group) <= LONGEST_GROUP and group.isprintable()}
    return frozenset(sorted(named)[:MOST_GROUPS])


def _groups_of(value: str, namespaces: Iterable[str]) -> list[str]:
    if not value.lower().startswith("urn:"):
        return [value]
    found = ENTITLEMENT.match(value)
    if found is None or found["namespace"].lower() not in {known.lower() for known in namespaces}:
        return []  # no group, or one of somebody whose word does not count
    group = unquote(found["group"])
    if found["role"] is None:
        return [group]
    role = unquote(found["role"])
    return [f"{group}:role={role}", *([group] if role == "member" else [])]


def identifier(claims: Claims, claim: str | None) -> str | None:
    """What accounts are found again by, as "email:alice@example.org"; an unverified email is none."""
    value = _text(claims, claim) if claim else ""
    if not value or (claim == "email" and claims.get("email_verified") is not True):
        return None
    return f"{claim}:{value.casefold() if claim == 'email' else value}"[:320]


def account_name(wanted: str) -> str:
    """The name, made fit to be an account's on any Linux; reserved ones get another end."""
    plain = unicodedata.normalize("NFKD", wanted.split("@")[0]).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_")
    name = re.sub(r"^[^a-z]+", "", name)[:LONGEST_NAME].rstrip("-_")
    name = name or "user"
    return f"{name[: LONGEST_NAME - 2]}-x" if name in RESERVED or name.startswith("systemd-") else name


def numbered(name: str, number: int) -> str:
    """The name for when it is taken: alice, alice-2, alice-3."""
    end = "" if number == 1 else f"-{number}"
    return f"{name[: LONGEST_NAME - len(end)]}{end}"


def look_up(claims: Claims, name: str) -> Any:
    """The claim of that name; failing that, the one inside another: `realm_access.roles`."""
    if name in claims:
        return claims[name]
    first, _, rest = name.partition(".")
    inner = claims.get(first)
    return look_up(inner, rest) if rest and isinstance(inner, dict) else None


def _text(claims: Claims, name: str) -> str:
    value = look_up(claims, name)
    return " ".join("".join(c if c.isprintable() else " " for c in value).split()) if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one]
