"""OpenID providers, as this process knows them: what they publish of themselves, their keys, and how they are asked.

What a provider publishes is kept for an hour, and longer while it is away. A token signed with a key that is not among
those kept has the keys fetched again, though not more often than every few seconds, whatever tokens strangers send.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from pydantic import BaseModel, ValidationError
from requests import RequestException

from broker.errors import NotFound, ProviderFault, ProviderUnreachable
from broker.identity.fetching import Patient
from broker.settings import ProviderSettings, Settings

log = structlog.get_logger()

KEEP = 3600.0  # seconds that a provider's word on itself is kept
KEYS_AGAIN = 10.0  # seconds before the keys are fetched again for a token of unknown key
LEFT_ALONE = 3.0  # seconds in which a provider that did not answer is not asked for its word on itself
AT_ONCE, PATIENCE = 16, 2.0  # exchanges with one provider, and seconds to wait for one's turn
SIGNED_BY = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"))
WELL_KNOWN = "/.well-known/openid-configuration"


class Metadata(BaseModel):
    """What we use of OpenID Connect Discovery 1.0."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    id_token_signing_alg_values_supported: list[str] = ["RS256"]
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    authorization_response_iss_parameter_supported: bool = False


class Provider:
    """One provider; threads may share it."""

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        self.name, self.settings = name, settings
        self._adapter = Patient(pool_maxsize=AT_ONCE)
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._metadata: Metadata | None = None
        self._metadata_at = self._failed_at = self._keys_at = float("-inf")
        self._keys: KeySet | None = None

    @property
    def client_secret(self) -> str:
        """The secret that proves that it is us."""
        given = self.settings
        if given.client_secret_file is not None:
            try:
                return given.client_secret_file.read_text().strip()
            except OSError as error:
                raise self.fault(f"its client secret cannot be read ({error.strerror})", "client_secret_file") from None
        secret = os.environ.get(given.client_secret_env or "", "")
        if not secret:
            raise self.fault("its client secret is not in the environment", "client_secret_env")
        return secret

    def metadata(self) -> Metadata:
        """What the provider says of itself."""
        kept = self._metadata
        if kept is not None and time.monotonic() - self._metadata_at < KEEP:
            return kept
        with self._one_at_a_time():
            if self._metadata is None or time.monotonic() - self._metadata_at >= KEEP:
                self._metadata = self._read_metadata(self._metadata)
                self._metadata_at = time.monotonic()
            return self._metadata

    def _read_metadata(self, kept: Metadata | None) -> Metadata:
        if kept is None and time.monotonic() - self._failed_at < LEFT_ALONE:
            raise self.unreachable("it did not answer a moment ago")
        try:
            return self._checked(self.get_json(self.settings.issuer.rstrip("/") + WELL_KNOWN))
        except ProviderFault as error:
            self._failed_at = time.monotonic()
            if kept is None:
                raise
            log.warning("provider.stale", provider=self.name, why=error.message)
            return kept

    def _checked(self, body: Mapping[str, Any]) -> Metadata:
        try:
            found = Metadata.model_validate(body)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise self.fault(f"what it says of itself has no good {where}") from None
        if found.issuer != self.settings.issuer:
            raise self.fault(f"it calls itself {found.issuer[:200]!r}, not {self.settings.issuer!r}", "issuer")
        addresses = [found.authorization_endpoint, found.token_endpoint, found.jwks_uri]
        addresses += filter(None, (found.userinfo_endpoint, found.end_session_endpoint))
        allowed = {"https", urlsplit(self.settings.issuer).scheme}
        if any(urlsplit(address).scheme not in allowed for address in addresses):
            raise self.fault("it names an address that is not https")
        return found

    def opened(self, token: str) -> jwt.Token:
        """The token, whose signature is the provider's. What it claims is not checked yet."""
        try:
            return self._decoded(token, self._kept_keys())
        except (InvalidKeyIdError, BadSignatureError):
            pass  # it may have new keys
        except (JoseError, ValueError) as error:
            raise self.fault(f"a token of its cannot be read ({error})") from None
        try:
            return self._decoded(token, self._fresh_keys())
        except (JoseError, ValueError):
            raise self.fault("a token is not signed by a key of its") from None

    def _decoded(self, token: str, keys: KeySet) -> jwt.Token:
        offered = set(self.metadata().id_token_signing_alg_values_supported)
        registry = JWSRegistry(algorithms=sorted(offered & SIGNED_BY), strict_check_header=False)
        return jwt.decode(token, keys, registry=registry)

    def _kept_keys(self) -> KeySet:
        kept = self._keys
        return kept if kept and time.monotonic() - self._keys_at < KEEP else self._fresh_keys()

    def _fresh_keys(self) -> KeySet:
        """The keys, fetched again where that is not too soon."""
        address = self.metadata().jwks_uri
        with self._one_at_a_time():
            if self._keys is None or time.monotonic() - self._keys_at >= KEYS_AGAIN:
                self._keys = self._key_set(self.get_json(address))
                self._keys_at = time.monotonic()
            return self._keys

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=PATIENCE):
            raise self.unreachable("it takes too long to answer")
        try:
            yield
        finally:
            self._lock.release()

    def _key_set(self, body: Mapping[str, Any]) -> KeySet:
        keys = body.get("keys")
        found = [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []
        signing = [key for key in found if key.get("use", "sig") == "sig" and key.get("kty") in ("RSA", "EC", "OKP")]
        try:
            return KeySet.import_key_set({"keys": signing})
        except (JoseError, ValueError, TypeError, KeyError):
            raise self.fault("its keys cannot be read") from None

    def session(self, redirect_uri: str | None = None) -> OAuth2Session:
        """Authlib's client of this provider; it keeps no state but the token of one exchange."""
        methods = self.metadata().token_endpoint_auth_methods_supported
        method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        client = OAuth2Session(
            self.settings.client_id,
            self.client_secret,
            token_endpoint_auth_method=method,
            scope=" ".join(self.settings.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            max_redirects=0,
        )
        return self._mounted(client)

    def _mounted(self, client: OAuth2Session) -> OAuth2Session:
        client.mount("https://", self._adapter)
        client.mount("http://", self._adapter)
        return client

    def get_json(self, address: str, client: OAuth2Session | None = None) -> Mapping[str, Any]:
        """The object at this address; with a client, as the person whose token it holds."""
        asking = client or self._mounted(OAuth2Session(max_redirects=0))
        with self.asking():
            try:
                answer = asking.request("GET", address, withhold_token=client is None)
            except OAuthError as error:
                raise self.fault(f"it gave an access token that is none ({error.error})") from None
            answer.raise_for_status()
            body = answer.json()
        if not isinstance(body, dict):
            raise self.fault("it answers something that is no JSON object")
        return body

    @contextmanager
    def asking(self) -> Iterator[None]:
        """For each exchange: a few at a time, and errors as ours. OAuthError, the provider's own word, passes."""
        if not self._turns.acquire(timeout=PATIENCE):
            raise self.unreachable("too many wait for it already")
        try:
            yield
        except OAuthError:
            raise
        except RequestException as error:
            status = error.response.status_code if error.response is not None else None
            if status is not None and 400 <= status < 500:
                raise self.fault(f"it refuses our request with status {status}") from None
            log.warning("provider.away", provider=self.name, why=str(error)[:300])
            raise self.unreachable("it does not answer, or not in time") from None
        except ValueError:
            raise self.fault("it answers something that is no JSON object") from None
        finally:
            self._turns.release()

    def fault(self, why: str, key: str = "") -> ProviderFault:
        """That the provider, or our settings of it, cannot be used, and why."""
        about = f" Operators: see identity.providers.{self.name}.{key}." if key else " Operators: see the log."
        log.warning("provider.fault", provider=self.name, why=why)
        return ProviderFault(
            f"{self.settings.title} cannot be used to sign in: {why}.", hint=f"Try again in a moment.{about}"
        )

    def unreachable(self, why: str) -> ProviderUnreachable:
        """That the provider is away."""
        return ProviderUnreachable(
            f"{self.settings.title} cannot be reached: {why}.",
            hint="Try again in a moment. Desktops that are open go on.",
        )


_known: dict[str, Provider] = {}


def provider(settings: Settings, name: str) -> Provider:
    """The provider of that name, or NotFound."""
    wanted = settings.identity.providers.get(name)
    if wanted is None:
        raise NotFound(f"There is no provider {name!r} to sign in with.", hint="Begin at the sign-in page.")
    found = _known.get(name)
    if found is None or found.settings != wanted:
        found = _known[name] = Provider(name, wanted)
    return found
