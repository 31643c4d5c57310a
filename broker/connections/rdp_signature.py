"""Signs an .rdp file as mstsc checks it: PKCS#7, detached, over the settings that could do harm, in a fixed order.

What is signed is text in UTF-16LE: those lines of the file, the line that names them, and a zero. The file then ends
with that line and the signature. Clients that check no signatures pass over both.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import pkcs7

from broker.errors import BadSettings

# What mstsc wants signed of the settings that our files have, by the name that it calls each, in its order.
SECURE = {
    "full address": "Full Address",
    "alternate full address": "Alternate Full Address",
    "negotiate security layer": "Negotiate Security Layer",
    "enablecredsspsupport": "EnableCredSspSupport",
    "autoreconnection enabled": "AutoReconnection Enabled",
    "gatewayusagemethod": "GatewayUsageMethod",
    "promptcredentialonce": "PromptCredentialOnce",
    "prompt for credentials": "Prompt For Credentials",
    "authentication level": "Authentication Level",
    "audiomode": "AudioMode",
    "redirectdrives": "RedirectDrives",
    "redirectprinters": "RedirectPrinters",
    "redirectclipboard": "RedirectClipboard",
    "drivestoredirect": "DrivesToRedirect",
    "loadbalanceinfo": "LoadBalanceInfo",
}
_HEADER = struct.Struct("<III")  # two versions, and the signature's length
_VERSIONS = (0x00010001, 1)


@dataclass(frozen=True)
class Signer:
    """Who publishes the files: a certificate, its key, and the certificates between it and an authority."""

    certificate: x509.Certificate
    key: RSAPrivateKey | EllipticCurvePrivateKey
    chain: Sequence[x509.Certificate]


def signer(certificate: Path | None, key: Path | None) -> Signer | None:
    """The signer that these PEM files describe, read anew, so that a renewed one is used at once; None without."""
    if certificate is None or key is None:
        return None
    try:
        first, *chain = x509.load_pem_x509_certificates(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(f"they cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not isinstance(private, RSAPrivateKey | EllipticCurvePrivateKey):
        raise _unusable("the key is neither RSA nor of an elliptic curve, as PKCS#7 needs it")
    if private.public_key() != first.public_key():
        raise _unusable("the key is not that certificate's")
    return Signer(first, private, chain)


def signed_text(lines: Sequence[str]) -> tuple[str, bytes]:
    """The line that names what is signed of these lines, and the bytes that are signed."""
    by_name = {line.partition(":")[0]: line for line in lines}
    chosen = [name for name in SECURE if name in by_name]
    scope = "signscope:s:" + ",".join(SECURE[name] for name in chosen)
    text = "\r\n".join((*(by_name[name] for name in chosen), scope)) + "\r\n\0"
    return scope, text.encode("utf-16-le")


def sign(text: str, by: Signer) -> str:
    """The .rdp file with its signature."""
    lines = text.removesuffix("\r\n").split("\r\n")
    scope, data = signed_text(lines)
    builder = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(by.certificate, by.key, hashes.SHA256())
    for each in by.chain:
        builder = builder.add_certificate(each)
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
    signature = builder.sign(serialization.Encoding.DER, options)
    whole = base64.b64encode(_HEADER.pack(*_VERSIONS, len(signature)) + signature).decode()
    return "\r\n".join((*lines, scope, f"signature:s:{whole}")) + "\r\n"


def _unusable(why: str) -> BadSettings:
    return BadSettings(
        f"rdp.signing_certificate and rdp.signing_key cannot be used: {why}.",
        hint="An administrator must mend them; the desktop in the browser works meanwhile.",
    )
