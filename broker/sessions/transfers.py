"""Files to and from the home on a session's machine, for its owner, as far as the policy allows.

The portal carries them, not the gateway: it is one request of the same site, with its cookie, its rights and its
errors. So that they never take the portal's threads away from its pages, few run at once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock

from agents.protocol import FileAnswer, FilePutRequest, FileRequest, FolderAnswer, FolderRequest, Message, ProtocolError
from broker import events
from broker.configuration import ssh
from broker.configuration.ssh import SshTarget
from broker.configuration.stream import Stream
from broker.connections.policy import WORDS
from broker.errors import (
    AgentRefused,
    BrokerError,
    Forbidden,
    InvalidRequest,
    NoSpace,
    NotFound,
    NotSignedIn,
    OverQuota,
)
from broker.identity.models import SignIn
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.service import Desktop

MOST_EACH = 4  # at once, of one person; all persons have a quarter of the portal's threads
EVERY = 5.0  # seconds between looks whether it may go on
REFUSALS: dict[str, type[BrokerError]] = {
    "not-there": NotFound,
    "not-allowed": Forbidden,
    "no-space": NoSpace,
    "cut-short": InvalidRequest,
    "bad-request": InvalidRequest,
}


class Slots:
    """How many transfers run."""

    def __init__(self) -> None:
        self._lock, self._running = Lock(), Counter[int]()

    @contextmanager
    def one(self, user_id: int, most: int) -> Iterator[None]:
        """Run one more of this user's, or OverQuota; `most` may run of all users'."""
        with self._lock:
            if self._running[user_id] >= MOST_EACH or self._running.total() >= most:
                raise OverQuota("Too many files are on their way.", hint="Wait until one has arrived, then try again.")
            self._running[user_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[user_id] -= 1


RUNNING = Slots()


@dataclass
class Download:
    """A file on its way out: `close` must be called, whether all of it was taken or not."""

    name: str
    size: int
    pieces: Iterator[bytes]
    close: Callable[[], None]


def folder(runtime: Runtime, person: Person, session_id: int, path: str) -> FolderAnswer:
    """What is in this folder of the home; without the files where none may be taken out."""
    desktop = _desktop(runtime, person, session_id)
    if not desktop.policy.files_in:
        _must_allow(desktop, "files_out")
    with _told():
        request = FolderRequest(path)
        found = ssh.agent(runtime.settings.state_dir, _target(desktop), "file-list", request, FolderAnswer)
    return found if desktop.policy.files_out else FolderAnswer(found.folders, {}, found.more, found.free)


def upload(
    runtime: Runtime, person: Person, session_id: int, path: str, name: str, size: int, body: Iterable[bytes]
) -> FileAnswer:
    """Put a new file of `size` bytes into this folder of the home; its name, with a number where it was taken."""

    def desktop() -> Desktop:
        return _allowed(runtime, person, session_id, "files_in")

    to = desktop()
    with _told():
        request = FilePutRequest(path, name, size)
        with _one(runtime, person), _stream(runtime, to, "file-put", request) as stream:
            stream.send(_while_allowed(body, desktop))
            done = stream.answer()
    _write_down(runtime, person, "session:upload", session_id, path, done)
    return done


def download(runtime: Runtime, person: Person, session_id: int, path: str, name: str) -> Download:
    """A file of this folder of the home. It is written down before its first byte leaves."""

    def desktop() -> Desktop:
        return _allowed(runtime, person, session_id, "files_out")

    source = desktop()
    with ExitStack() as stack, _told():
        request = FileRequest(path, name)
        stack.enter_context(_one(runtime, person))
        stream = stack.enter_context(_stream(runtime, source, "file-get", request))
        found = stream.answer()
        _write_down(runtime, person, "session:download", session_id, path, found)
        pieces = _while_allowed(stream.received(found.size), desktop)
        return Download(found.name, found.size, pieces, stack.pop_all().close)


def _one(runtime: Runtime, person: Person) -> AbstractContextManager[None]:
    return RUNNING.one(person.user_id, max(1, runtime.settings.web.threads // 4))


def _allowed(runtime: Runtime, person: Person, session_id: int, what: str) -> Desktop:
    found = _desktop(runtime, person, session_id)
    _must_allow(found, what)
    return found


def _desktop(runtime: Runtime, person: Person, session_id: int) -> Desktop:
    """The person's own ready desktop, as long as the sign-in stands that asks."""
    with runtime.database.reading() as db:
        sign_in = db.get(SignIn, person.sign_in_id) if person.sign_in_id else None
        if sign_in is not None and sign_in.revoked_at is not None:
            raise NotSignedIn("You are not signed in any more.", hint="Sign in again.")
        return service.own_desktop(db, runtime.settings, person, session_id)


def _must_allow(desktop: Desktop, what: str) -> None:
    if not getattr(desktop.policy, what):
        raise Forbidden(WORDS[what], hint="Who runs your service knows why.")


def _while_allowed(pieces: Iterable[bytes], look: Callable[[], Desktop]) -> Iterator[bytes]:
    """The pieces, as long as `look` raises nothing."""
    looked = time.monotonic()
    for piece in pieces:
        if time.monotonic() - looked > EVERY:
            look()
            looked = time.monotonic()
        yield piece


def _target(desktop: Desktop) -> SshTarget:
    return SshTarget(desktop.address, desktop.host_key, desktop.machine, desktop.ssh_port)


def _stream(runtime: Runtime, desktop: Desktop, verb: str, request: Message) -> Stream:
    return Stream(runtime.settings.state_dir, _target(desktop), verb, request)


@contextmanager
def _told() -> Iterator[None]:
    """What the agent refuses, as an error that its user understands."""
    try:
        yield
    except ProtocolError as error:
        raise InvalidRequest(f"That cannot be a file's name or a folder's: {error}.") from None
    except AgentRefused as error:
        kind = REFUSALS.get(str(error.facts.get("reason")))
        if kind is None:
            raise
        raise kind(error.message.rpartition("refused file-list: ")[2], hint="Reload the list of files.") from None


def _write_down(runtime: Runtime, person: Person, action: str, session_id: int, path: str, file: FileAnswer) -> None:
    with runtime.database.transaction() as db:
        events.write_down(db, action, session_id, actor=person.name, folder=path, file=file.name, bytes=file.size)
