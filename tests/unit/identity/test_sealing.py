"""What is sealed is read by us only, for its purpose, in its time."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.fernet import Fernet

from broker.identity.sealing import seal, unseal


def test_what_was_sealed_comes_back_for_its_purpose_only(tmp_path: Path) -> None:
    """A cookie of one kind is no cookie of another."""
    sealed = seal(tmp_path, "sign-in", {"state": "s"})
    assert "state" not in sealed
    assert unseal(tmp_path, "sign-in", sealed) == {"state": "s"}
    assert unseal(tmp_path, "tokens", sealed) is None


def test_what_is_changed_old_or_of_others_is_nothing(tmp_path: Path) -> None:
    """Nor does it break anything."""
    sealed = seal(tmp_path, "sign-in", {"state": "s"})
    for other in (
        "",
        "x",
        sealed[:-4] + "AAAA",
        sealed[:40] + "AAAA" + sealed[44:],
        "ä",
        Fernet(Fernet.generate_key()).encrypt(b'["sign-in", {}]').decode(),
    ):
        assert unseal(tmp_path, "sign-in", other) is None
    assert unseal(tmp_path, "sign-in", sealed, seconds=-1) is None


def test_the_keys_can_be_changed_while_something_lives(tmp_path: Path) -> None:
    """The new one is put before the old; once that is taken out, what it sealed is nothing."""
    path = tmp_path / "sign-in.keys"
    old = seal(tmp_path, "sign-in", {"n": 1})
    first = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(f"{Fernet.generate_key().decode()}\n{first}")
    new = seal(tmp_path, "sign-in", {"n": 2})
    assert unseal(tmp_path, "sign-in", old) == {"n": 1}
    path.write_text(path.read_text().splitlines()[0] + "\n \n")
    assert unseal(tmp_path, "sign-in", old) is None
    assert unseal(tmp_path, "sign-in", new) == {"n": 2}


def test_several_processes_make_the_keys_once(tmp_path: Path) -> None:
    """The first one's stay."""
    with ThreadPoolExecutor(8) as threads:
        sealed = list(threads.map(lambda n: seal(tmp_path, "sign-in", {"n": n}), range(8)))
    assert [unseal(tmp_path, "sign-in", one) for one in sealed] == [{"n": n} for n in range(8)]
    assert [path.name for path in tmp_path.iterdir()] == ["sign-in.keys"]
