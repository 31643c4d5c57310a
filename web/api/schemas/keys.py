"""What crosses the edge of SSH keys and certificates."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from web.api.schemas import Given, Id, Moment, Taken, Text

PublicKey = Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class KeyBody(Taken):
    """A public key, as on the one line of a .pub file, and what its owner calls it."""

    name: Text
    public_key: PublicKey


class KeyOut(Given):
    """One registered key; `used_at` is when it last came through the SSH gateway."""

    id: int
    name: str
    kind: str
    fingerprint: str
    public_key: str
    created_at: Moment
    used_at: Moment | None


class CertificateBody(Taken):
    """Either the number of a registered `key`, or a `public_key`."""

    key: Id | None = None
    public_key: PublicKey | None = None


class CertificateOut(Given):
    """A certificate, and the OpenSSH file that uses it. `key_file` is null where the key is a registered one."""

    serial: int
    certificate: str
    fingerprint: str
    expires_at: Moment
    key_file: str | None
    config: str
