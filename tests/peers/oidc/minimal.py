"""An OpenID provider of a few lines, which signs real tokens and misbehaves where it is told to.

What the certified provider would never do is tried against this one; and it is quick, for the benchmark. As a program:
`python -m tests.peers.oidc.minimal PORT`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "beamdesk", "of-the-tests-client-and-of-nobody-else"
Claims = dict[str, Any]
Fault = Callable[["_Handler"], None]


def new_key() -> RSAKey:
    """A signing key with a name of its own."""
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)


class Minimal(ThreadingHTTPServer):
    """The provider; what it does wrong is set on it: `faults` by path, `change_*` for what it tells."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_address[1]}"
        self.key = new_key()
        self.published: list[RSAKey] = [self.key]
        self.person: Claims = {"sub": "alice", "preferred_username": "alice", "name": "Alice Muon"}
        self.faults: dict[str, Fault] = {}
        self.change_metadata: Callable[[Claims], Claims] = dict
        self.change_id_token: Callable[[Claims], Claims] = dict
        self.change_header: Callable[[Claims], Claims] = dict
        self.change_userinfo: Callable[[Claims], Claims] = dict
        self.refresh_error: str | None = None
        self.seen: list[str] = []
        self._codes: dict[str, Claims] = {}
        self._refresh: set[str] = set()
        self._lock = threading.Lock()

    def metadata(self) -> Claims:
        """What it says of itself."""
        told = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/me",
            "id_token_signing_alg_values_supported": ["RS256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return self.change_metadata(told)

    def answer_to(self, address: str) -> Claims:
        """What the browser brings back, once the person has signed in at this authorization request's address."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["code_challenge_method"] == "S256"
        assert asked["response_type"] == "code"
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    def redeem(self, form: Claims) -> tuple[int, Claims]:
        """The token endpoint."""
        if form.get("grant_type") == "refresh_token":
            with self._lock:
                known = form.get("refresh_token") in self._refresh
                self._refresh.discard(form.get("refresh_token", ""))
            error = self.refresh_error or (None if known else "invalid_grant")
            return (400, {"error": error}) if error else (200, self._tokens({}))
        asked = self._codes.pop(form.get("code", ""), None)
        proof = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=")
        if asked is None or asked["code_challenge"] != proof.decode() or asked["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant", "error_description": "no such <b>code</b>"}
        return 200, self._tokens({"nonce": asked["nonce"], "sub": asked.get("login_hint", self.person["sub"])})

    def about(self, access: str) -> Claims:
        """Whom the access token is of: the person, or whom the request's hint named."""
        subject = access.rpartition(".")[0]
        known = subject in ("", self.person["sub"])
        return self.person if known else {**self.person, "sub": subject, "preferred_username": subject}

    def _tokens(self, more: Claims) -> Claims:
        refresh = secrets.token_urlsafe(16)
        with self._lock:
            self._refresh.add(refresh)
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": self.person["sub"], "sid": "sid-1", **more}
        claims |= {"iat": int(time.time()), "exp": int(time.time()) + 300}
        return {
            "access_token": f"{claims['sub']}.{secrets.token_urlsafe(16)}",
            "token_type": "Bearer",
            "id_token": self.signed(self.change_id_token(claims)),
            "refresh_token": refresh,
        }

    def signed(self, claims: Claims, key: RSAKey | None = None, **header: Any) -> str:
        """These claims, signed."""
        key = key or self.key
        told = self.change_header({"alg": "RS256", "kid": key.kid, **header})
        return jwt.encode(told, claims, key, algorithms=["RS256"])

    def logout_token(self, key: RSAKey | None = None, typ: str = "logout+jwt", **changes: Any) -> str:
        """A logout token of the person; a change to None leaves that claim out."""
        event = {"http://schemas.openid.net/event/backchannel-logout": {}}
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": self.person["sub"], "sid": "sid-1", "events": event}
        claims |= {"iat": int(time.time()), "exp": int(time.time()) + 120, "jti": secrets.token_urlsafe(8), **changes}
        return self.signed({name: value for name, value in claims.items() if value is not None}, key, typ=typ)


class _Handler(BaseHTTPRequestHandler):
    server: Minimal
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = self._began()
        if path == "/.well-known/openid-configuration":
            self.say(self.server.metadata())
        elif path == "/jwks":
            self.say({"keys": [key.as_dict(private=False) for key in self.server.published]})
        elif path == "/me":
            access = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self.say(self.server.change_userinfo(self.server.about(access)))
        elif path == "/authorize":
            answer = self.server.answer_to(self.path)
            back = parse_qs(urlsplit(self.path).query)["redirect_uri"][0]
            self.say({}, 302, Location=f"{back}?{urlencode(answer)}")
        elif path:
            self.say({}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self._began() == "/token":
            proof = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {proof}":
                self.say({"error": "invalid_client"}, 401)
                return
            status, told = self.server.redeem({name: values[0] for name, values in parse_qs(body).items()})
            self.say(told, status)

    def _began(self) -> str:
        """The path; empty where a fault has answered already."""
        path = urlsplit(self.path).path
        self.server.seen.append(path)
        fault = self.server.faults.get(path)
        if fault is None:
            return path
        with suppress(OSError):
            fault(self)
        self.close_connection = True
        return ""

    def say(self, told: Claims, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """Answer this."""
        self.say_bytes(json.dumps(told).encode(), status, kind, **headers)

    def say_bytes(self, body: bytes, status: int = 200, kind: str = "text/html", **headers: str) -> None:
        """Answer just this."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing."""


@contextmanager
def minimal(port: int = 0) -> Iterator[Minimal]:
    """The provider, while the block runs."""
    found = Minimal(port)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


if __name__ == "__main__":
    Minimal(int(sys.argv[1])).serve_forever()
