"""Files between the session's home and the broker: with the user's own rights, beneath the home, through no link.

The process gives up root before it opens anything. A new file gets its name when it is whole, and never another's.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agents.machine import state
from agents.machine.faults import AgentError
from agents.machine.seat import groups_of
from agents.protocol import FileAnswer, FilePutRequest, FileRequest, FolderAnswer, FolderRequest, can_be_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

MOST_LISTED = 1000
MADE = ("Desktop", "Downloads")  # where one expects them, in a home that has none yet
_PIECE = 256 * 1024
_DRAFT = ".beamdesk-draft-"
_DRAFT_SECONDS = 24 * 3600.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO would wait, but is refused
_WORDS = {
    errno.ENOENT: ("not-there", "It is not there."),
    errno.ENOTDIR: ("not-there", "That is no folder."),
    errno.ELOOP: ("not-there", "That is a link, which is not followed."),
    errno.ENXIO: ("not-there", "That is no file."),
    errno.EACCES: ("not-allowed", "The user may not do that there."),
    errno.EPERM: ("not-allowed", "The user may not do that there."),
    errno.EROFS: ("not-allowed", "Nothing can be written there."),
    errno.ENOSPC: ("no-space", "There is no room for it."),
    errno.EDQUOT: ("no-space", "There is no room for it."),
    errno.EFBIG: ("no-space", "It is larger than a file may be there."),
}


def folder(request: FolderRequest, _: float) -> FolderAnswer:
    """What is in the folder."""
    with _opened(_home(), request.folder) as where:
        return listing(where)


def put(request: FilePutRequest, _: float) -> FileAnswer:
    """Take a new file from standard input."""
    with _opened(_home(), request.folder, make=True) as where:
        return receive(where, request, sys.stdin.buffer)


def get(request: FileRequest, _: float) -> None:
    """Answer, and let the file's bytes follow, so many as the answer says, or fewer where they cannot be read."""
    with _opened(_home(), request.folder) as where:
        source = _regular(where, request.name)
    answer = FileAnswer(request.name, os.fstat(source).st_size)
    sys.stdout.buffer.write(answer.to_json().encode() + b"\n")
    try:
        send(source, answer.size, sys.stdout.buffer)
    except OSError:
        os._exit(1)  # nothing that is printed now could be told from the file's bytes


def _home() -> str:
    current = state.read()
    if current is None or current.detached:
        raise AgentError("not-attached", "This machine has no session.")
    become(current.uid)
    return current.home


def become(uid: int) -> None:
    """Give up root for this account, for good."""
    group, groups = groups_of(uid)
    os.setgroups(groups)
    os.setresgid(group, group, group)
    os.setresuid(uid, uid, uid)
    os.umask(0o022)


@contextmanager
def _opened(home: str, path: str, *, make: bool = False) -> Iterator[int]:
    """The folder at this path beneath the home. What the system refuses in the block is said in words."""
    with _in_words():
        where = os.open(home, _FOLDER)
        try:
            for part in path.split("/") if path else ():
                if make and path in MADE:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=where)
                inner = os.open(part, _FOLDER, dir_fd=where)
                os.close(where)
                where = inner
            yield where
        finally:
            os.close(where)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _WORDS:
            raise
        raise AgentError(*_WORDS[error.errno]) from None


def listing(where: int) -> FolderAnswer:
    """What is in this folder, by name, without what is hidden, a link or a device."""
    folders: list[str] = []
    files: dict[str, float] = {}
    more = False
    with os.scandir(where) as entries:
        for entry in entries:
            if len(folders) + len(files) == MOST_LISTED:
                more = True
                break
            if entry.name.startswith(".") or not can_be_name(entry.name):
                continue
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files[entry.name] = entry.stat(follow_symlinks=False).st_size
    return FolderAnswer(tuple(sorted(folders)), dict(sorted(files.items())), more, _free(where))


def _free(where: int) -> int:
    room = os.fstatvfs(where)
    return room.f_bavail * room.f_frsize


def receive(where: int, request: FilePutRequest, source: BinaryIO) -> FileAnswer:
    """Write the bytes that follow to a new file; nothing of it stays unless it is whole."""
    if request.size > _free(where):
        raise AgentError("no-space", "There is no room for it.")
    _forget_drafts(where)
    draft = f"{_DRAFT}{os.getpid()}-{time.monotonic_ns()}"
    target = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=where)
    try:
        with open(target, "wb", buffering=0) as file:
            _copy(source, file, request.size)
            os.fsync(file.fileno())
        return FileAnswer(_named(where, draft, request.name), request.size)
    finally:
        os.unlink(draft, dir_fd=where)


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    left = size
    while left:
        piece = memoryview(source.read(min(left, _PIECE)))
        if not piece:
            raise AgentError("cut-short", f"It broke off {left} bytes before its end.")
        left -= len(piece)
        while piece:
            piece = piece[target.write(piece) :]


def _named(where: int, draft: str, name: str) -> str:
    """Give the whole file its name, or the first one with a number that is free; the link replaces nothing."""
    stem, dot, ending = name.rpartition(".") if "." in name[1:] else (name, "", "")
    for number in itertools.count(1):
        free = name if number == 1 else f"{stem} ({number}){dot}{ending}"
        with suppress(FileExistsError):
            os.link(draft, free, src_dir_fd=where, dst_dir_fd=where)
            return free
    raise AssertionError("there is always a next number")


def _forget_drafts(where: int) -> None:
    """Remove what a killed transfer left here long ago."""
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.name.startswith(_DRAFT):
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _DRAFT_SECONDS:
                        os.unlink(entry.name, dir_fd=where)


def _regular(where: int, name: str) -> int:
    source = os.open(name, _FILE, dir_fd=where)
    if not stat.S_ISREG(os.fstat(source).st_mode):
        os.close(source)
        raise AgentError("not-there", "That is no file.")
    return source


def send(source: int, size: int, target: BinaryIO) -> None:
    """Write so many bytes of the file, or OSError where it has become shorter."""
    left = size
    with open(source, "rb", buffering=0) as file:
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise OSError(errno.EIO, "the file became shorter")
            target.write(piece)
            left -= len(piece)
    target.flush()
