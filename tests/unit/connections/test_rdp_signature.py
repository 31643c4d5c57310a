"""The signature of .rdp files: OpenSSL's own command says whether it is good, over exactly what Windows reads."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.connections import files, rdp_signature
from broker.errors import BadSettings
from tests.certificates import Key, authority

UNSIGNED = {  # what mstsc does not ask to be signed
    *("username", "screen mode id", "desktopwidth", "desktopheight", "session bpp", "smart sizing"),
    "dynamic resolution",
}


class Publisher:
    """An authority, one below it, and a publisher's certificate and key, as files."""

    def __init__(self, folder: Path, kind: type[Key] = ec.EllipticCurvePrivateKey) -> None:
        root = authority(kind)
        middle = root.vouch_for("middle", authority=True)
        self.root = root.write(folder)[0]
        self.chain, self.key = middle.vouch_for("facility").write(folder, middle)

    def sign(self, text: str) -> str:
        signer = rdp_signature.signer(self.chain, self.key)
        assert signer is not None
        return rdp_signature.sign(text, signer)


@pytest.fixture(params=[rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey])
def publisher(tmp_path: Path, request: pytest.FixtureRequest) -> Publisher:
    return Publisher(tmp_path, request.param)


def rdp_file() -> str:
    return files.rdp(
        address="desk.example:3389",
        user="alice",
        password="s3cret",
        ticket="t" * 32,
        named_by_certificate=True,
        clipboard=True,
    )


def what_windows_reads(text: str) -> bytes:
    """The bytes that mstsc checks the signature over, made anew from the file by what it says is signed."""
    values = {line.split(":")[0].lower(): line for line in text.split("\r\n") if line}
    names = values["signscope"].removeprefix("signscope:s:").split(",")
    lines = [values[name.lower()] for name in names]
    return "".join(f"{line}\r\n" for line in (*lines, values["signscope"])).encode("utf-16-le") + b"\0\0"


def verified(text: str, root: Path, folder: Path) -> bool:
    """Whether `openssl cms -verify` says that the file's signature is good."""
    [value] = [line.removeprefix("signature:s:") for line in text.split("\r\n") if line.startswith("signature:s:")]
    whole = base64.b64decode(value, validate=True)
    assert whole[:8] == b"\x01\x00\x01\x00\x01\x00\x00\x00"
    assert int.from_bytes(whole[8:12], "little") == len(whole) - 12
    signature, content = folder / "signature", folder / "content"
    signature.write_bytes(whole[12:])
    content.write_bytes(what_windows_reads(text))
    line = ["openssl", "cms", "-verify", "-inform", "DER", "-in", signature, "-content", content, "-binary"]
    line += ["-CAfile", root, "-purpose", "any", "-out", "/dev/null"]
    return subprocess.run(line, capture_output=True).returncode == 0


def test_openssl_accepts_the_signature_up_to_the_authority(publisher: Publisher, tmp_path: Path) -> None:
    """With both kinds of keys; the publisher's certificate and the one between come with it."""
    assert verified(publisher.sign(rdp_file()), publisher.root, tmp_path)


@pytest.mark.parametrize("change", [("desk.example", "evil.example"), ("redirectdrives:i:0", "redirectdrives:i:1")])
def test_a_changed_file_is_not_accepted(publisher: Publisher, tmp_path: Path, change: tuple[str, str]) -> None:
    """Neither another address nor another right."""
    changed = publisher.sign(rdp_file()).replace(*change)
    assert not verified(changed, publisher.root, tmp_path)


def test_another_authority_does_not_vouch_for_it(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert not verified(publisher.sign(rdp_file()), Publisher(tmp_path / "other").root, tmp_path)


def test_signing_changes_no_setting(publisher: Publisher) -> None:
    """The file is as before, and two lines longer."""
    text = rdp_file()
    signed = publisher.sign(text)
    assert signed.startswith(text)
    assert len(signed.removeprefix(text).split("\r\n")) == 3


def test_all_that_could_do_harm_is_signed() -> None:
    """A setting that a file gets one day is either in the list of what Windows wants signed, or known not to be."""
    names = {line.partition(":")[0] for line in rdp_file().split("\r\n") if line}
    assert names - UNSIGNED == set(rdp_signature.SECURE)


def test_the_order_is_windows_own_whatever_the_files_is() -> None:
    lines = rdp_file().removesuffix("\r\n").split("\r\n")
    assert rdp_signature.signed_text(lines) == rdp_signature.signed_text(lines[::-1])
    scope = rdp_signature.signed_text(lines)[0]
    assert scope.startswith("signscope:s:Full Address,Alternate Full Address,Negotiate Security Layer,")
    assert scope.endswith(",DrivesToRedirect,LoadBalanceInfo")


def test_without_a_certificate_nothing_is_signed() -> None:
    assert rdp_signature.signer(None, None) is None


def test_signing_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """Missing, no certificate, another one's key, and a key that PKCS#7 has no words for."""
    good, other = Publisher(tmp_path), tmp_path / "other"
    other.mkdir()
    strange, empty = tmp_path / "ed25519.pem", tmp_path / "empty.pem"
    empty.write_text("")
    strange.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    wrong = {
        (tmp_path / "nowhere.pem", good.key): "No such file",
        (empty, good.key): "cannot be read",
        (good.chain, Publisher(other).key): "not that certificate's",
        (good.chain, strange): "neither RSA nor",
    }
    for paths, why in wrong.items():
        with pytest.raises(BadSettings, match=why) as error:
            rdp_signature.signer(*paths)
        assert error.value.hint
