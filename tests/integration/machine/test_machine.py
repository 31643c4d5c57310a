"""What holds for every machine: an attach that is killed is completed, homes persist, and only certificates log in."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.configuration import ca, identity, keyring, ssh
from tests.integration.machine.desk import UID, USER, Desk
from tests.integration.machine.lab import Lab
from tests.screens import colours
from tests.waiting import until


def test_an_attach_that_is_killed_at_any_moment_is_completed_by_the_next(light: Desk) -> None:
    light.root(f"umask 077; cat > /root/request.json <<'EOF'\n{light.request.to_json()}\nEOF")
    for milliseconds in (20, 35, 50, 65, 80, 95, 110, 130, 160, 190):
        killed = f"timeout -s KILL 0.{milliseconds:03} beamdesk-agent attach < /root/request.json"
        light.root(f"sh -c '{killed}' 2> /dev/null")
        assert light.attach().display == ":1", f"killed after {milliseconds} ms"
        assert colours(light.frame()) > 500
        assert light.root(f"grep -c '^{USER}:' /etc/passwd /etc/shadow /etc/group").split() == [
            f"/etc/{name}:1" for name in ("passwd", "shadow", "group")
        ]
        _make_vacant_again(light)


def _make_vacant_again(desk: Desk) -> None:
    """What no broker does: forget the session, so that one machine serves this test."""
    desk.detach()
    desk.root(
        f"rm -r /var/lib/beamdesk/session.json /run/beamdesk; userdel {USER}; find /home/{USER} -mindepth 1 -delete"
    )


def test_two_attaches_at_once_give_one_desktop(light: Desk) -> None:
    light.root(f"umask 077; cat > /root/request.json <<'EOF'\n{light.request.to_json()}\nEOF")
    both = light.root("for i in 1 2; do beamdesk-agent attach < /root/request.json & done; wait")
    assert both.count('"display": ":1"') == 2
    assert len(light.pids("Xtigervnc")) == len(light.pids("icewm")) == 1
    _make_vacant_again(light)


def test_a_home_comes_back_on_the_next_machine_as_it_was_left(fresh: Callable[[str], Desk], lab: Lab) -> None:
    first = fresh("light")
    first.attach()
    first.user("echo results > results.txt; echo '# mine' > .bashrc; rm .profile")
    first.detach()
    lab.take_home(first.target, first.volume)
    second = fresh("light", first.volume)
    second.attach(replace(second.request, session="43"))
    assert second.user("cat results.txt .bashrc; ls -A .profile 2>&1; stat -c %u results.txt").split("\n")[:2] == [
        "results",
        "# mine",
    ]
    assert "No such file" in second.user("ls .profile 2>&1"), "what the user removed is not put back"
    assert second.root(f"stat -c %u /home/{USER}/results.txt").strip() == str(UID)


@pytest.fixture(scope="module")
def attached(light: Desk) -> Desk:
    """A machine that alice's session 42 is attached to."""
    light.attach()
    return light


def log_in(
    desk: Desk,
    folder: Path,
    *,
    user: str = USER,
    principals: tuple[str, ...] = ("session-42",),
    secrets: Path | None = None,
    until_now: timedelta = timedelta(minutes=5),
) -> subprocess.CompletedProcess[str]:
    """Log in as a user's downloaded files do: by certificate, with the machine known by its own certificate."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    authority = secrets or desk.state_dir / "secrets"
    certificate = ca.sign_user(
        authority,
        key.with_suffix(".pub").read_text(),
        principals=principals,
        valid_until=datetime.now(UTC) + until_now,
        key_id="alice",
        options=("permit-pty",),
    )
    (folder / "key-cert.pub").write_text(certificate)
    hosts = ca.trusted(desk.state_dir / "secrets").hosts.splitlines()
    (folder / "known_hosts").write_text("".join(f"@cert-authority * {host}\n" for host in hosts))
    return subprocess.run(
        [
            *("ssh", "-F", "none", "-i", str(key), "-o", f"CertificateFile={folder}/key-cert.pub"),
            *("-o", f"UserKnownHostsFile={folder}/known_hosts", "-o", "StrictHostKeyChecking=yes"),
            *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", f"HostKeyAlias={desk.target.name}"),
            *("-o", "GlobalKnownHostsFile=/dev/null", f"{user}@{desk.target.address}"),
            "id -un; pwd; hostname",
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )


def test_the_user_logs_in_by_certificate_without_a_question(attached: Desk, tmp_path: Path) -> None:
    done = log_in(attached, tmp_path)
    assert done.stdout.split()[:2] == [USER, f"/home/{USER}"], done.stderr


def test_a_certificate_of_another_session_is_refused(attached: Desk, tmp_path: Path) -> None:
    assert "Permission denied" in log_in(attached, tmp_path, principals=("session-43",)).stderr


def test_a_machine_in_use_learns_the_brokers_new_keys(attached: Desk, tmp_path: Path) -> None:
    """Both authorities and the broker's own key are replaced; what is open stays so."""
    secrets, number = attached.state_dir / "secrets", itertools.count()

    def gets_in() -> bool:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        return log_in(attached, folder).returncode == 0

    with subprocess.Popen(attached.ssh_line("cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as inside:
        assert inside.stdin is not None
        assert inside.stdout is not None
        for step in (keyring.begin, keyring.switch, keyring.forget):
            for authority in ca.AUTHORITIES:
                step(secrets, authority)
            identity.renew(attached.state_dir, attached.target)
            until(gets_in, f"the user to get in after {step.__name__}", 10)
        keyring.replace(secrets, "broker")
        ssh.close_all(attached.state_dir)
        assert attached.status().desktop == "running"
        inside.stdin.write(b"still there\n")
        inside.stdin.close()
        assert inside.stdout.read() == b"still there\n"


def test_a_foreign_authoritys_certificate_is_refused(attached: Desk, tmp_path: Path) -> None:
    ca.trusted(tmp_path / "foreign")
    assert "Permission denied" in log_in(attached, tmp_path, secrets=tmp_path / "foreign").stderr


def test_a_users_certificate_is_no_way_to_root_or_to_another_account(attached: Desk, tmp_path: Path) -> None:
    for user in ("root", "beamdesk-probe"):
        folder = tmp_path / user
        folder.mkdir()
        assert "Permission denied" in log_in(attached, folder, user=user).stderr


def test_an_expired_certificate_is_refused(attached: Desk, tmp_path: Path) -> None:
    assert log_in(attached, tmp_path, until_now=timedelta(seconds=3)).returncode == 0
    again = tmp_path / "again"
    again.mkdir()

    def refused() -> bool:
        key = ["-i", str(tmp_path / "key"), "-o", f"CertificateFile={tmp_path}/key-cert.pub"]
        line = ["ssh", "-F", "none", *key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
        files = ["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", f"{USER}@{attached.target.address}"]
        return subprocess.run([*line, *files, "true"], capture_output=True).returncode == 255

    until(refused, "the certificate to end", 15)


def test_no_password_and_no_key_file_of_the_user_lets_anybody_in(attached: Desk, tmp_path: Path) -> None:
    settings = attached.root("/usr/sbin/sshd -T -C user=alice")
    for line in ("passwordauthentication no", "kbdinteractiveauthentication no", "authorizedkeysfile none"):
        assert line in settings
    assert "authenticationmethods publickey" in settings


def test_after_the_detach_the_certificate_is_worth_nothing(attached: Desk, tmp_path: Path) -> None:
    attached.detach()
    assert "Permission denied" in log_in(attached, tmp_path).stderr
