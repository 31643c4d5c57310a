"""What makes a machine this one and no other: taken away before an image is made of it, given to each made from that.

Host keys, certificates, the keys of the RDP server and of the doors, the machine's number, logs and homes. The roles
make them, too, on a machine that is configured from its start; here it takes one command over SSH, some tenths of a
second. The doors' key and certificate are made afterwards on either (doors.py).
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from broker.clouds import dialling
from broker.configuration import ca, ssh
from broker.configuration.playbook import ANSIBLE, agent_file
from broker.configuration.ssh import SshTarget
from broker.errors import ConfigurationFailed

MADE_OF = "/etc/beamdesk/made-of"
_TAKE = f"""
set -e
cat > {MADE_OF}
if command -v cloud-init > /dev/null; then cloud-init clean --logs; fi
rm -rf /etc/beamdesk/tunnel
rm -rf /var/lib/beamdesk /var/lib/systemd/random-seed /etc/beamdesk/rdp-*.pem* /etc/beamdesk/door /etc/xrdp/rsakeys.ini
rm -rf /home/* /root/.ssh /root/.ansible /root/.bash_history /var/tmp/* /tmp/*
find /var/log -type f -delete
: > /etc/machine-id
test -L /var/lib/dbus/machine-id || rm -f /var/lib/dbus/machine-id
rm -f /etc/ssh/sshd_config.d/00-beamdesk.conf /etc/ssh/beamdesk-*.pub /etc/ssh/ssh_host_*
sync
"""
_GIVE = """
set -e
tar -C / --no-same-owner --no-overwrite-dir -xpf -
/usr/local/lib/beamdesk/own-parts
/usr/local/lib/beamdesk/reload-sshd
"""
# sshd reads at each login whom to let in; its certificate only at a reload, when it does not listen for a moment
_RENEW = """
set -e
signer() { ssh-keygen -L -f /etc/ssh/beamdesk-host-cert.pub | grep "Signing CA"; }
before=$(signer)
tar -C / --no-same-owner --no-overwrite-dir -xpf -
test "$before" = "$(signer)" || /usr/local/lib/beamdesk/reload-sshd
"""


def take(state_dir: Path, target: SshTarget, made_of: str) -> None:
    """Clean the machine for an image, and write down what it was made of; nobody can log in to it any more."""
    _run(state_dir, target, _TAKE, made_of.encode(), "cleaned")


def made_of(state_dir: Path, target: SshTarget) -> str | None:
    """The fingerprint that the machine's image carries; None where it carries none."""
    done = ssh.run(state_dir, target, ["cat", MADE_OF])
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def give(state_dir: Path, target: SshTarget) -> None:
    """Make a machine of an image one of its own, with today's agent."""
    _run(state_dir, target, _GIVE, _parcel(state_dir, target), "made one of its own")


def renew(state_dir: Path, target: SshTarget) -> None:
    """Bring a machine in use whom it lets in now, and a new host certificate; every connection stays."""
    parcel = _tar(_credentials(state_dir.absolute() / "secrets", target))
    _run(state_dir, target, _RENEW, parcel, "told of the new keys")


def _parcel(state_dir: Path, target: SshTarget) -> bytes:
    """A tar of the files that the roles sshd and agent lay."""
    secrets, settings = state_dir.absolute() / "secrets", ANSIBLE / "roles/sshd/files/root"
    files = {
        **_credentials(secrets, target),
        ssh.AGENT.lstrip("/"): agent_file(state_dir.absolute()).read_bytes(),
        **{str(path.relative_to(settings)): path.read_bytes() for path in settings.rglob("*") if path.is_file()},
    }
    return _tar(files)


def _credentials(secrets: Path, target: SshTarget) -> dict[str, bytes]:
    certificate = ca.sign_host(secrets, target.host_key, [target.name, target.address])
    known_hosts = dialling.known_hosts(ca.GATEWAY, ca.trusted(secrets).hosts)
    return {
        "etc/ssh/beamdesk-user-ca.pub": f"{ca.trusted(secrets).users}\n".encode(),
        "etc/ssh/beamdesk-host-cert.pub": f"{certificate}\n".encode(),
        **({dialling.KNOWN_HOSTS.lstrip("/"): known_hosts.encode()} if target.dials_out else {}),
    }


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name == ssh.AGENT.lstrip("/") else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _run(state_dir: Path, target: SshTarget, script: str, stdin: bytes, what: str) -> None:
    done = ssh.run(state_dir, target, ["sh", "-c", script], stdin=stdin, timeout=120)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-1000:]
        raise ConfigurationFailed(f"Machine {target.name} could not be {what}: {said or done.returncode}")
