"""The messages that the broker and the machine's agent speak: one JSON object each way, checked on both sides.

`Message.from_json` refuses what is missing, unknown, of the wrong type or out of range with a ProtocolError whose
text names the field. Only the standard library is used, and no `typing`: the agent must start in milliseconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import datetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self


# A machine's ports that are seen from outside, besides SSH: its doors, of mutual TLS (agents/machine/door.py)
VNC_DOOR, RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD, PROBE_DOOR, SOUND_DOOR = 15901, 13389, 13390, 15902, 15903
DOORS = (VNC_DOOR, RDP_DOOR, RDP_DOOR_WITHOUT_CLIPBOARD, PROBE_DOOR, SOUND_DOOR)
# Where a machine's SSH is: on itself, and at the end of the tunnel of one that dials out, as no account but root
# listens below 1024
SSH_PORT, TUNNELLED_SSH_PORT = 22, 10022
LONGEST_NAME = 240  # bytes; Linux takes 255, and a taken name gets a number


class ProtocolError(ValueError):
    """Raised when a message is not what the protocol says; the text names the field."""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# What JSON may hold for each annotation that the messages below use.
_FITS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
    "bool": lambda value: isinstance(value, bool),
    "tuple[str, ...]": lambda value: isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value),
    "dict[str, str]": lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
    "dict[str, float]": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
}


@dataclass(frozen=True)
class Message:
    """The base of all messages; a subclass adds fields and `check()`."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ProtocolError when a field's value is out of range."""

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The message in `text`, or ProtocolError."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ProtocolError(f"{cls.__name__} is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise ProtocolError(f"{cls.__name__} must be a JSON object, not {type(values).__name__}")
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The message with these fields, or ProtocolError."""
        known = {field.name: str(field.type) for field in fields(cls)}
        for name in values.keys() ^ known.keys():
            raise ProtocolError(f"{cls.__name__}.{name} is {'missing' if name in known else 'no field of it'}")
        for name, kind in known.items():
            if not _FITS[kind](values[name]):
                raise ProtocolError(f"{cls.__name__}.{name} must be {kind}, not {values[name]!r}")
        tuples = {name: tuple(values[name]) for name, kind in known.items() if kind.startswith("tuple")}
        return cls(**{**values, **tuples})

    def to_json(self) -> str:
        """The message as one line of JSON."""
        return json.dumps(asdict(self))

    def must_match(self, name: str, pattern: str, meaning: str) -> None:
        """Raise ProtocolError unless the whole of field `name` matches; the value itself may be a secret."""
        if not re.fullmatch(pattern, getattr(self, name)):
            raise ProtocolError(f"{type(self).__name__}.{name} must be {meaning}")


_PASSWORD = (r"[A-Za-z0-9_-]{8,64}", "8 to 64 letters, digits, - or _")
_CERTIFICATE = r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]{1,8000}-----END CERTIFICATE-----\n"
_GEOMETRY = (r"[1-9]\d{2,3}x[1-9]\d{2,3}", "WIDTHxHEIGHT, as in 1600x900")


@dataclass(frozen=True)
class AttachRequest(Message):
    """Give the machine to a session: account, desktop and logins. `home` is mounted already and belongs to `uid`."""

    session: str
    user: str
    uid: int
    full_name: str
    password: str
    home: str
    geometry: str
    lease_ends: str
    principals: tuple[str, ...]

    def check(self) -> None:
        self.must_match("session", r"[A-Za-z0-9_-]{1,64}", "1 to 64 letters, digits, - or _")
        self.must_match("user", r"[a-z][a-z0-9_-]{0,30}", "a lower-case account name of at most 31 characters")
        self.must_match("full_name", r"[^\x00-\x1f\x7f]{0,200}", "at most 200 printable characters")
        self.must_match("password", *_PASSWORD)
        self.must_match("home", r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+", "an absolute path without . and ..")
        self.must_match("geometry", *_GEOMETRY)
        if not 1000 <= self.uid < 2**31:
            raise ProtocolError(f"AttachRequest.uid must be from 1000 to 2147483647, not {self.uid}")
        self._check_lease_ends()
        if not self.principals or not all(re.fullmatch(r"[A-Za-z0-9._@-]{1,128}", p) for p in self.principals):
            raise ProtocolError("AttachRequest.principals must be one or more names of letters, digits, . _ @ -")

    def _check_lease_ends(self) -> None:
        try:
            aware = datetime.fromisoformat(self.lease_ends).tzinfo is not None
        except ValueError:
            aware = False
        if not aware:
            raise ProtocolError("AttachRequest.lease_ends must be an ISO 8601 time with its offset from UTC")


@dataclass(frozen=True)
class AttachAnswer(Message):
    """The desktop is painted, its doors are open. `timings` counts milliseconds from the agent's start to each mark."""

    display: str
    vnc_port: int
    rdp_port: int
    timings: dict[str, float]


@dataclass(frozen=True)
class DoorRequest(Message):
    """A certificate signing request (PKCS#10, PEM) for the key of the machine's doors, which never leaves it."""

    request: str


@dataclass(frozen=True)
class DoorCertificate(Message):
    """The certificate for that key, and the authorities of which a gateway's may be: both PEM."""

    certificate: str
    authorities: str

    def check(self) -> None:
        for name in ("certificate", "authorities"):
            self.must_match(name, rf"({_CERTIFICATE}){{1,8}}", "one to eight PEM certificates")


@dataclass(frozen=True)
class ProbeRequest(Message):
    """Start the desktop for a look at it, on a display of its own."""

    password: str
    geometry: str

    def check(self) -> None:
        self.must_match("password", *_PASSWORD)
        self.must_match("geometry", *_GEOMETRY)


@dataclass(frozen=True)
class ProbeAnswer(Message):
    """The probe's desktop is painted. `clock` is the machine's time in seconds since 1970."""

    vnc_port: int
    clock: float
    home_writable: bool
    timings: dict[str, float]


@dataclass(frozen=True)
class NotifyRequest(Message):
    """Show a notice in the user's desktop."""

    title: str
    text: str
    urgency: str

    def check(self) -> None:
        self.must_match("title", r"[^\x00]{1,200}", "1 to 200 characters")
        self.must_match("text", r"[^\x00]{0,2000}", "at most 2000 characters")
        self.must_match("urgency", r"normal|critical", "normal or critical")


@dataclass(frozen=True)
class StatusAnswer(Message):
    """How the machine is: `desktop` is none or running; `viewers` counts VNC connections, RDP's own included.

    `idle_seconds` counts since the last input or load, whoever looks on; None where that is not known, which is not
    idle. `sign` is what showed the last use: "its start", "input", or the first of `work`, which is the load of the
    user's processes just now, as "3.8 cores busy" or "transfer 12.0 MB/s".
    """

    session: str | None
    desktop: str
    clock: float
    load1: float
    viewers: int
    idle_seconds: float | None
    sign: str
    work: tuple[str, ...]


@dataclass(frozen=True)
class FolderRequest(Message):
    """List a folder of the session's home; "" is the home itself."""

    folder: str

    def check(self) -> None:
        if self.folder:
            for part in self.folder.split("/"):
                must_be_name(f"{type(self).__name__}.folder", part)


@dataclass(frozen=True)
class FolderAnswer(Message):
    """What is in it that has a name in UTF-8, is not hidden and is no link: folders, and files with their sizes.

    `more` is true where there is more than is listed; `free` is how many bytes the user can still put there.
    """

    folders: tuple[str, ...]
    files: dict[str, float]
    more: bool
    free: int


@dataclass(frozen=True)
class FileRequest(FolderRequest):
    """One file of such a folder. The answer to `file-get` is followed by its bytes."""

    name: str

    def check(self) -> None:
        super().check()
        must_be_name(f"{type(self).__name__}.name", self.name)


@dataclass(frozen=True)
class FilePutRequest(FileRequest):
    """A new file of such a folder. The request is one line, and `size` bytes follow it."""

    size: int

    def check(self) -> None:
        super().check()
        if self.size < 0:
            raise ProtocolError(f"FilePutRequest.size must be 0 or more, not {self.size}")


@dataclass(frozen=True)
class FileAnswer(Message):
    """A file's name, which for a new one has a number where the wished one was taken, and how many bytes it has."""

    name: str
    size: int


def must_be_name(what: str, text: str) -> None:
    """Raise ProtocolError unless this can be the name of one file in a folder, and of nothing elsewhere."""
    if not can_be_name(text) or len(text.encode()) > LONGEST_NAME:
        raise ProtocolError(f"{what} must be a name of at most {LONGEST_NAME} bytes, without / and control characters")


def can_be_name(text: str) -> bool:
    """Whether it is text that names one file in a folder: bytes that are no UTF-8 come as lone surrogates."""
    return bool(re.fullmatch(r"[^/\x00-\x1f\x7f-\x9f\ud800-\udfff]+", text)) and text not in (".", "..")


@dataclass(frozen=True)
class Nothing(Message):
    """The request of a verb that needs none, and the answer of one that has none to give."""


@dataclass(frozen=True)
class Failure(Message):
    """What the agent prints when it cannot do what was asked: `error` has a code to act on and a message to read."""

    error: dict[str, str]


# verb -> (what is asked, what is answered)
VERBS: dict[str, tuple[type[Message], type[Message]]] = {
    "attach": (AttachRequest, AttachAnswer),
    "detach": (Nothing, Nothing),
    "door-certificate": (DoorCertificate, Nothing),
    "door-request": (Nothing, DoorRequest),
    "file-get": (FileRequest, FileAnswer),
    "file-list": (FolderRequest, FolderAnswer),
    "file-put": (FilePutRequest, FileAnswer),
    "notify": (NotifyRequest, Nothing),
    "probe-start": (ProbeRequest, ProbeAnswer),
    "probe-stop": (Nothing, Nothing),
    "status": (Nothing, StatusAnswer),
}
