"""Users' SSH keys: which can be registered, and by whom; held against OpenSSH's own keys."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connections import keys
from broker.errors import BrokerError, InvalidRequest, NotFound, WeakKey
from broker.identity.service import Person, create_account
from broker.runtime import Runtime
from tests.conftest import NewPerson
from tests.ssh import new_key

GOOD = [
    ("-t", "ed25519"),
    ("-t", "ecdsa", "-b", "256"),
    ("-t", "ecdsa", "-b", "521"),
    ("-t", "rsa", "-b", "3072"),
]
SECURITY_KEY = "sk-ssh-ed25519@openssh.com " + (
    "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAICFo/k5LU8863u66YC9eUO2170QduohPURkQnbLa/dczAAAABHNzaDo="
)
DSA = "ssh-dss " + "AAAAB3NzaC1kc3M" + "A" * 300


@pytest.mark.parametrize("kind", GOOD, ids=" ".join)
def test_a_good_key_is_known_by_openssh_s_own_fingerprint(tmp_path: Path, kind: tuple[str, ...]) -> None:
    """And without its comment."""
    line = new_key(tmp_path / "key", *kind)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(tmp_path / "key.pub")], capture_output=True, text=True)
    bits, fingerprint, *_ = shown.stdout.split()
    found = keys.parse(f"  {line} and a comment\n")
    assert found.line == " ".join(line.split()[:2])
    assert found.fingerprint == fingerprint
    assert f"{bits} bits" in found.kind


def test_a_security_keys_half_is_good() -> None:
    assert keys.parse(SECURITY_KEY).kind == "Ed25519 on a security key, 256 bits"


@pytest.mark.parametrize("bits", ["1024", "2048", "3070"])
def test_a_short_rsa_key_is_weak(tmp_path: Path, bits: str) -> None:
    with pytest.raises(WeakKey, match=bits):
        keys.parse(new_key(tmp_path / "key", "-t", "rsa", "-b", bits))


def test_a_dsa_key_is_weak() -> None:
    with pytest.raises(WeakKey, match="DSA"):
        keys.parse(DSA)


def test_what_is_no_public_key_is_refused(tmp_path: Path) -> None:
    """A private key above all, an option before a key, two keys, a certificate, a cut one."""
    line = new_key(tmp_path / "key")
    private = (tmp_path / "key").read_text()
    certificate = "ssh-ed25519-cert-v01@openssh.com " + "A" * 100
    two = f"{line}\n{line}"
    for text in ("", "hello", private, f'command="x" {line}', two, certificate, line[:60], f"{line.split()[0]} AAAA"):
        with pytest.raises(InvalidRequest) as caught:
            keys.parse(text)
        assert caught.value.hint
    with pytest.raises(InvalidRequest):
        keys.parse(f"ssh-rsa {line.split()[1]}")


@given(st.text(), st.binary(max_size=200))
def test_no_text_breaks_it(text: str, blob: bytes) -> None:
    """Refused in our own words, whatever it is."""
    for line in (text, f"ssh-ed25519 {text}"):
        with pytest.raises(BrokerError):
            keys.parse(line)


def test_each_user_has_a_key_once_and_of_their_own(runtime: Runtime, new_person: NewPerson, tmp_path: Path) -> None:
    """The same again gets another name. Somebody else may register it as well, and neither touches the other's."""
    alice, bob = new_person("alice"), new_person("bob")
    line = new_key(tmp_path / "key")
    first = keys.add(runtime, alice, "laptop", line)
    again = keys.add(runtime, alice, "desk", f"{line} other comment")
    assert (again.id, again.name) == (first.id, "desk")
    theirs = keys.add(runtime, bob, "mine", line)
    with pytest.raises(NotFound):
        keys.remove(runtime, bob, first.id)
    keys.remove(runtime, alice, first.id)
    with runtime.database.reading() as db:
        assert (keys.listed(db, alice), [key.id for key in keys.listed(db, bob)]) == ([], [theirs.id])


def test_a_key_that_is_registered_twice_at_once_is_there_once(each_runtime: Runtime, tmp_path: Path) -> None:
    """On either database, and nothing breaks."""
    alice = create_account(each_runtime, "alice", "alice", "secret-1")
    for turn in range(5):
        line, together = new_key(tmp_path / f"key-{turn}"), Barrier(2)

        def register(name: str, line: str = line, together: Barrier = together) -> int:
            together.wait()
            return keys.add(each_runtime, alice, name, line).id

        with ThreadPoolExecutor(2) as threads:
            assert len(set(threads.map(register, ("one", "two")))) == 1


def test_nobody_has_more_keys_than_the_limit(
    runtime: Runtime, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MOST", 2)
    lines = [new_key(tmp_path / f"key-{number}") for number in range(3)]
    for line in lines[:2]:
        keys.add(runtime, person, "one", line)
    with pytest.raises(InvalidRequest, match="2 keys already"):
        keys.add(runtime, person, "one", lines[2])
    assert keys.add(runtime, person, "renamed", lines[0]).name == "renamed"
