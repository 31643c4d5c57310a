"""Sign-ins by OpenID Connect: the broker's share of each, and what Authlib and joserfc alone need for it.

The provider is a process of its own on loopback, which signs real tokens (RS256) and checks PKCE. A sign-in is what
`arrivals.arrive(openid.finish())` does once the browser is back: code exchange, ID token verified, userinfo, account,
groups, sign-in, tokens sealed. The floor is Authlib's own exchange and verification, with userinfo, and nothing kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from bench.rows import Row, percentile, write
from broker.database import Base
from broker.identity import arrivals, openid
from broker.identity.service import CameFrom
from broker.runtime import Runtime, open_runtime
from broker.settings import DatabaseSettings, IdentitySettings, RedisSettings, Settings
from tests.peers.oidc.minimal import CLIENT, SECRET
from tests.ports import free_port
from tests.servers import private_postgresql
from tests.waiting import until

SIGN_INS, PEOPLE, THREADS = 1000, 200, 8
TARGET, CPU = 100.0, 10.0  # sign-ins a second, and milliseconds of one core for each
CALLBACK = "http://localhost:8080/sign-in/bench/callback"
Prepared = tuple[openid.Begun, dict[str, str]]


@contextmanager
def provider() -> Iterator[str]:
    """The provider in a process of its own; its issuer."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "tests.peers.oidc.minimal", str(port)]) as process:
        issuer = f"http://127.0.0.1:{port}"
        try:
            until(lambda: answers(issuer), "the provider")
            yield issuer
        finally:
            process.terminate()


def answers(issuer: str) -> bool:
    try:
        return requests.get(f"{issuer}/jwks", timeout=5).ok
    except requests.ConnectionError:
        return False


def approve(address: str, who: str) -> dict[str, str]:
    """What this person's browser brings back from this authorization request."""
    asked = f"{address}&login_hint={who}"
    location = requests.get(asked, allow_redirects=False, timeout=5).headers["Location"]
    return {name: one[0] for name, one in parse_qs(urlsplit(location).query).items()}


def prepare(runtime: Runtime, number: int) -> list[Prepared]:
    """Sign-ins of PEOPLE in turn, whose browsers are on their way back."""

    def one(turn: int) -> Prepared:
        address, kept = openid.begin(runtime, "bench", CALLBACK, "/")
        answer = approve(address, f"person-{turn % PEOPLE}")
        return openid.begun(runtime, "bench", kept, answer), answer

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(one, range(number)))


def finish(runtime: Runtime, prepared: Prepared) -> None:
    """What is measured."""
    begun, answer = prepared
    told = openid.finish(runtime, begun, CALLBACK, answer)
    arrivals.arrive(runtime, told, CameFrom("192.0.2.7", "bench"))


class Floor:
    """Authlib's exchange and verification, with nothing around."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.keys = KeySet.import_key_set(requests.get(f"{issuer}/jwks", timeout=5).json())
        self.adapter = requests.adapters.HTTPAdapter(pool_maxsize=THREADS)

    def __call__(self, prepared: Prepared) -> None:
        begun, answer = prepared
        client = OAuth2Session(CLIENT, SECRET, redirect_uri=CALLBACK, code_challenge_method="S256")
        client.mount("http://", self.adapter)
        token = client.fetch_token(f"{self.issuer}/token", code=answer["code"], code_verifier=begun.verifier)
        opened = jwt.decode(token["id_token"], self.keys, registry=JWSRegistry(algorithms=["RS256"]))
        about = {"nonce": begun.nonce, "client_id": CLIENT, "access_token": token["access_token"]}
        CodeIDToken(opened.claims, opened.header, {"iss": {"value": self.issuer}}, about).validate(leeway=60)
        client.get(f"{self.issuer}/me").raise_for_status()


def rate(work: Callable[[Prepared], None], prepared: list[Prepared]) -> tuple[float, float, list[float]]:
    """Sign-ins a second, the milliseconds of this process's CPU for each, and how long each took."""

    def timed(one: Prepared) -> float:
        began = time.perf_counter()
        work(one)
        return time.perf_counter() - began

    began, busy = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(THREADS) as threads:
        took = list(threads.map(timed, prepared))
    cpu = (time.process_time() - busy) * 1000 / len(prepared)
    return len(prepared) / (time.perf_counter() - began), cpu, took


@contextmanager
def deployment(folder: Path, issuer: str, database: str) -> Iterator[Runtime]:
    """A deployment with this provider and this database."""
    told: dict[str, Any] = {
        "title": "Bench",
        "issuer": issuer,
        "client_id": CLIENT,
        "client_secret_env": "BENCH_SECRET",
    }
    settings = Settings(
        state_dir=folder,
        redis=RedisSettings(url=f"unix://{folder}/no-redis"),
        database=DatabaseSettings(url=database),
        identity=IdentitySettings.model_validate({"providers": {"bench": told}}),
    )
    runtime = open_runtime(settings)
    runtime.database.listeners.clear()  # nobody looks at pages here
    Base.metadata.create_all(runtime.database.engine)
    yield runtime
    runtime.database.close()


def measure(runtime: Runtime, issuer: str, title: str) -> list[Row]:
    """The broker on this database, beside the floor."""
    for one in prepare(runtime, PEOPLE):  # who have their accounts from here on
        finish(runtime, one)
    floor, floor_cpu, _ = rate(Floor(issuer), prepare(runtime, SIGN_INS))
    ours, cpu, took = rate(lambda one: finish(runtime, one), prepare(runtime, SIGN_INS))
    note, peer = f"{SIGN_INS} sign-ins, {THREADS} threads, p95 {percentile(took, 0.95) * 1000:.0f} ms", "Authlib alone"
    about = (peer, floor, ours / floor, TARGET)
    return [
        Row(f"sign-ins by OpenID a second, {title}", ours, "1/s", *about, met=ours >= TARGET, note=note),
        Row(f"CPU of a sign-in, {title}", cpu, "ms", peer, floor_cpu, cpu / floor_cpu, CPU, met=cpu <= CPU),
    ]


def main() -> None:
    """Both databases."""
    os.environ["BENCH_SECRET"] = SECRET
    with tempfile.TemporaryDirectory() as name, provider() as issuer, private_postgresql(fsync=True) as postgresql:
        for title, database in (("SQLite", f"sqlite:///{name}/bench.sqlite3"), ("PostgreSQL", postgresql)):
            with deployment(Path(name), issuer, database) as runtime:
                write(measure(runtime, issuer, title))
