"""[identity]: how people prove who they are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from broker.settings.section import Name, Section


class ProviderSettings(Section):
    """An OpenID provider that people sign in with (docs/identity.md). The client's secret comes from a file or from the
    environment, never from here. `linked_by` names the verified identifier by which accounts are found again."""

    title: str
    issuer: str
    client_id: str = Field(min_length=1)
    client_secret_file: Path | None = None
    client_secret_env: str | None = Field(None, min_length=1)
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"
    full_name_claim: str = "name"
    group_claims: tuple[str, ...] = ("groups", "wlcg.groups", "eduperson_entitlement")
    entitlement_namespaces: tuple[str, ...] = ()
    groups: dict[str, str] = Field(default_factory=dict)
    keep_other_groups: bool = True
    admin_groups: tuple[str, ...] = ()
    only_groups: tuple[str, ...] = ()
    linked_by: str | None = Field(None, min_length=1)
    refresh_minutes: float = Field(10, ge=0.01, le=24 * 60)
    clock_skew_seconds: int = Field(60, ge=0, le=600)

    @model_validator(mode="after")
    def _can_be_trusted(self) -> ProviderSettings:
        issuer = urlsplit(self.issuer)
        at_home = issuer.hostname in ("localhost", "127.0.0.1", "::1")
        if not issuer.hostname or issuer.scheme not in (("https", "http") if at_home else ("https",)):
            raise ValueError("issuer must begin with https:// (http:// on the loopback address only)")
        if (self.client_secret_file is None) == (self.client_secret_env is None):
            raise ValueError("give one of client_secret_file and client_secret_env")
        if "openid" not in self.scopes:
            raise ValueError('scopes must have "openid"')
        return self


class IdentitySettings(Section):
    """How people prove who they are: local accounts with a password, OpenID providers, or both."""

    local_accounts: bool = True
    providers: dict[Name, ProviderSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _somebody_can_get_in(self) -> IdentitySettings:
        if not self.local_accounts and not self.providers:
            raise ValueError("local_accounts = false needs a provider, or nobody could sign in")
        issuers = [provider.issuer for provider in self.providers.values()]
        if len(set(issuers)) != len(issuers):
            raise ValueError("each provider must have an issuer of its own")
        return self
