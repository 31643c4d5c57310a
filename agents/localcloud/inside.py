"""A machine's first process, from the host's view to its own: builds its root, hides the host, drops rights.

Runs as the init of fresh network, mount, PID, UTS and IPC namespaces. All mounts are made in the machine's own
mount namespace, so they go when it goes. What the machine sees of the host is /usr and those parts of /etc that
every account of the host may read; everything else is fresh and empty. At last it becomes sshd, which also reaps
the machine's orphans.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

# What system services and logins need; no SYS_ADMIN, NET_ADMIN, SYS_PTRACE, SYS_MODULE or MKNOD.
CAPABILITIES = [
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "net_bind_service",
    "sys_chroot",
    "audit_write",
]
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
HIDDEN = ("acpi", "bus", "fs", "irq", "keys", "key-users", "kcore", "latency_stats", "pressure", "scsi", "tty/driver")
SHOWN_OF_VAR = ("lib/dpkg", "lib/xkb", "lib/python", "cache/fontconfig", "lib/ucf")
# linux/mount.h
MOUNT_FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "remount": 32, "bind": 4096, "rbind": 4096 | 16384}
LIBC = ctypes.CDLL(None, use_errno=True)
SSHD_LOG = "/var/log/sshd.log"  # in the machine's own memory: a login waits for no disk of the host
DIAL_FILES = "/etc/beamdesk/tunnel"
DIAL = f"while :; do ssh -F {DIAL_FILES}/ssh_config -N tunnel; sleep 1; done >> /var/log/tunnel.log 2>&1"
FIRST_HUMAN = 1000
LISTABLE = stat.S_IROTH | stat.S_IXOTH
SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
TrustedUserCAKeys /etc/ssh/cloud_ca.pub
AuthorizedPrincipalsFile /etc/ssh/cloud_principals
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
MaxStartups 200
MaxSessions 100
Subsystem sftp internal-sftp
"""


def main(folder: Path) -> None:
    """Become the machine that `folder`/spec.json describes."""
    spec = json.loads((folder / "spec.json").read_text())
    image = Path(spec["layer"]) if spec["layer"] else None
    root = _root(folder, image)
    _etc(root / "etc", spec, image)
    _fresh_folders(root)
    _var(root / "var")
    if image:
        subprocess.run(["cp", "-a", *(image / tree for tree in ("opt", "srv", "var")), root], check=True)
    _dev(root / "dev", spec["memory_mb"])
    _mount(folder / "home", root / "home", "rbind")
    _proc(root / "proc")
    socket.sethostname(spec["name"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.chdir(root)
    (root / ".host").mkdir()
    subprocess.run(["pivot_root", ".", ".host"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "-l", "/.host"], check=True)
    os.rmdir("/.host")
    kept = ",".join(f"+{name}" for name in CAPABILITIES)
    drop = ["setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all"]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    if spec.get("dial"):
        subprocess.Popen([*drop, "sh", "-c", DIAL], env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    os.execvpe("setpriv", [*drop, "/usr/sbin/sshd", "-D", "-E", SSHD_LOG], environment)


def _mount(source: str | Path, target: Path, options: str, kind: str = "") -> None:
    """mount(2) itself, with options as mount(8) has them; a program for each of our fifty mounts takes much longer."""
    words = options.split(",")
    flags = sum(MOUNT_FLAGS.get(word, 0) for word in words)
    data = ",".join(word for word in words if word not in MOUNT_FLAGS)
    names = (os.fsencode(each) for each in (source, target, kind))
    if LIBC.mount(*names, ctypes.c_ulong(flags), os.fsencode(data)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} at the mount of {source}", str(target))


def _show(source: Path, target: Path, options: str) -> None:
    """The host's folder, with these restrictions; the kernel takes them in a second step only."""
    _mount(source, target, "bind")
    _mount("none", target, f"remount,bind,{options}")


def _root(folder: Path, image: Path | None) -> Path:
    """On the disk that the host made, a root with an overlay of /usr, with the image's layer in between."""
    disk = folder / "disk"
    root = disk / "root"
    root.mkdir()
    _mount(root, root, "bind")
    layers = [disk / "usr-upper", disk / "usr-work", root / "usr"]
    for layer in layers:
        layer.mkdir()
    lower = "/usr" if image is None else str(image / "usr").replace(":", r"\:") + ":/usr"
    _mount("overlay", layers[2], f"lowerdir={lower},upperdir={layers[0]},workdir={layers[1]}", "overlay")
    for link in Path("/").iterdir():  # bin, sbin, lib…: links into /usr on every current Debian and Ubuntu
        if link.is_symlink() and os.readlink(link).startswith("usr/"):
            (root / link.name).symlink_to(os.readlink(link))
    if not (root / "bin").is_symlink():
        sys.exit("this host keeps /bin apart from /usr (no merged /usr), which the local cloud does not support")
    return root


def _etc(etc: Path, spec: dict[str, Any], image: Path | None) -> None:
    """A copy of what every account of the host may read, with the host's people, names and keys replaced; or a copy of
    the image's, with its names and keys replaced.

    It is no overlay: what the host writes into its own /etc later would show through, its next shadow file too.
    """
    if image:
        subprocess.run(["cp", "-a", image / "etc", etc], check=True)
    else:
        _copy_public(Path("/etc"), etc)
        shutil.rmtree(etc / "ssh")
    people = {line.split(":")[0] for line in (etc / "passwd").read_text().splitlines() if _is_human(line)}
    for name in ("passwd", "group"):
        lines = (etc / name).read_text().splitlines()
        kept = [line for line in lines if line.split(":")[0] not in people]
        _write(etc / name, "\n".join(kept) + "\n")
    accounts = [line.split(":")[0] for line in (etc / "passwd").read_text().splitlines()]
    groups = [line.split(":")[0] for line in (etc / "group").read_text().splitlines()]
    _write(etc / "shadow", "".join(f"{name}:*:19000:0:99999:7:::\n" for name in accounts), 0o640)
    _write(etc / "gshadow", "".join(f"{name}:*::\n" for name in groups), 0o640)
    _write(etc / "machine-id", secrets.token_hex(16) + "\n", 0o444)
    _write(etc / "hostname", spec["name"] + "\n")
    _write(etc / "hosts", f"127.0.0.1 localhost\n127.0.1.1 {spec['name']}\n")
    for name in ("resolv.conf", "subuid", "subgid", "fstab", "crontab"):
        _write(etc / name, "")
    for name in ("passwd-", "group-", "subuid-", "subgid-"):  # their last but one states, people included
        (etc / name).unlink(missing_ok=True)
    _ssh(etc / "ssh", spec)
    _dial(etc.parent, spec)


def _copy_public(source: Path, target: Path) -> None:
    target.mkdir()
    shutil.copystat(source, target)
    for entry in os.scandir(source):
        if not entry.name.endswith(".lock"):  # of a program that is at work on the host's own accounts
            with suppress(FileNotFoundError):  # the host goes on changing its /etc
                _copy_entry(entry, target / entry.name)


def _copy_entry(entry: os.DirEntry[str], copy: Path) -> None:
    state = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(state.st_mode):
        copy.symlink_to(os.readlink(entry))
    elif stat.S_ISDIR(state.st_mode) and state.st_mode & LISTABLE == LISTABLE:
        _copy_public(Path(entry), copy)
    elif stat.S_ISREG(state.st_mode) and state.st_mode & stat.S_IROTH:
        shutil.copy2(entry, copy)
    else:
        return
    os.chown(copy, state.st_uid, state.st_gid, follow_symlinks=False)


def _is_human(line: str) -> bool:
    name, _, uid = line.split(":")[:3]
    return int(uid) >= FIRST_HUMAN and name != "nobody"


def _ssh(folder: Path, spec: dict[str, Any]) -> None:
    """The machine's own host key, and logins only by certificates of the broker's authority."""
    folder.mkdir(mode=0o755, exist_ok=True)
    (folder / "sshd_config.d").mkdir(exist_ok=True)
    _write(folder / "ssh_host_ed25519_key", spec["host_private_key"], 0o600)
    _write(folder / "ssh_host_ed25519_key.pub", spec["host_key"] + "\n")
    _write(folder / "cloud_ca.pub", spec["ssh_ca"] + "\n")
    _write(folder / "cloud_principals", "beamdesk-broker\n")
    _write(folder / "sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n" + SSHD_CONFIG)


def _dial(root: Path, spec: dict[str, Any]) -> None:
    """What the machine needs to dial out; nothing that an image has of another one."""
    folder = root / DIAL_FILES.lstrip("/")
    shutil.rmtree(folder, ignore_errors=True)
    for path, text in (spec.get("dial") or {"files": {}})["files"].items():
        folder.mkdir(parents=True, exist_ok=True)
        _write(root / path.lstrip("/"), text)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _fresh_folders(root: Path) -> None:
    for name in ("home", "proc", "sys", "dev", "srv", "mnt", "media", "opt", "var", "run", "tmp", "root"):
        (root / name).mkdir()
    (root / "root").chmod(0o700)
    (root / "tmp").chmod(0o1777)
    _mount("tmpfs", root / "run", "mode=755,size=64m,nosuid,nodev", "tmpfs")
    for name in ("run/sshd", "run/lock", "run/user", "run/dbus"):
        (root / name).mkdir(mode=0o755)


def _var(var: Path) -> None:
    for name in ("log", "cache", "lib", "lib/dbus", "lib/misc", "spool", "mail", "tmp", "backups", "local", "opt"):
        (var / name).mkdir()
    (var / "tmp").chmod(0o1777)
    (var / "run").symlink_to("/run")
    (var / "lock").symlink_to("/run/lock")
    (var / "lib/dbus/machine-id").symlink_to("/etc/machine-id")
    for name in SHOWN_OF_VAR:
        if (Path("/var") / name).is_dir():
            (var / name).mkdir(parents=True)
            _show(Path("/var") / name, var / name, "ro,nosuid,nodev")


def _dev(dev: Path, memory_mb: int) -> None:
    _mount("tmpfs", dev, "mode=755,size=1m,nosuid", "tmpfs")
    for name in DEVICES:
        (dev / name).touch()
        _mount(f"/dev/{name}", dev / name, "bind")
    (dev / "pts").mkdir()
    (dev / "shm").mkdir()
    _mount("devpts", dev / "pts", "newinstance,ptmxmode=0666,mode=620,gid=5,nosuid,noexec", "devpts")
    _mount("tmpfs", dev / "shm", f"mode=1777,size={memory_mb // 2}m,nosuid,nodev", "tmpfs")
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{number}")


def _proc(proc: Path) -> None:
    """The machine's own processes; the kernel's switches can be read, not turned."""
    _mount("proc", proc, "nosuid,nodev,noexec", "proc")
    _show(proc / "sys", proc / "sys", "ro,nosuid,nodev,noexec")
    for path in {*(proc / name for name in HIDDEN), *filter(_is_roots_own, proc.iterdir())}:
        if path.is_dir():
            _mount("tmpfs", path, "ro,size=4k,mode=555", "tmpfs")
        elif path.exists():
            _mount("/dev/null", path, "bind")


def _is_roots_own(path: Path) -> bool:
    """A file about the whole host that only root may read, or may write: the machine's root is not meant."""
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) and (not mode & stat.S_IROTH or bool(mode & stat.S_IWUSR))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
