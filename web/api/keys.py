"""One's own SSH keys, and certificates of one's sessions for them."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response, make_response

from broker.connections import keys
from broker.connections.models import SshKey
from broker.errors import InvalidRequest
from broker.identity.rights import Right
from broker.sessions import certificates
from broker.sessions.certificates import Issued
from web.api.schemas import many
from web.api.schemas.keys import CertificateBody, CertificateOut, KeyBody, KeyOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("keys", __name__, tag="Connections")


@blueprint.get("/me/keys")
@blueprint.output(many(KeyOut))
@needs(Right.ACCOUNT)
def my_keys() -> list[SshKey]:
    """My SSH keys, the oldest first"""
    with site().runtime.database.reading() as db:
        return list(keys.listed(db, person()))


@blueprint.post("/me/keys")
@blueprint.input(KeyBody, arg_name="body")
@blueprint.output(KeyOut, 201)
@blueprint.doc(responses=[422])
@needs(Right.ACCOUNT)
def add(body: KeyBody) -> SshKey:
    """Register a public key

    Ed25519, ECDSA, RSA of 3072 bits or more, or on a security key. The same key again gets the new name.
    """
    return keys.add(site().runtime, person(), body.name, body.public_key)


@blueprint.delete("/me/keys/<id:key_id>")
@blueprint.doc(responses={204: "Removed"})
@needs(Right.ACCOUNT)
def remove(key_id: int) -> Response:
    """Remove a key

    Its certificates open nothing any more, and SSH connections that are open by them are closed.
    """
    keys.remove(site().runtime, person(), key_id)
    return make_response("", 204)


@blueprint.post("/sessions/<id:session_id>/certificates")
@blueprint.input(CertificateBody, arg_name="body")
@blueprint.output(CertificateOut, 201)
@blueprint.doc(responses=[403, 404, 409, 422])
@needs(Right.CONNECT)
def certificate(session_id: int, body: CertificateBody) -> Issued:
    """An SSH certificate for one of my sessions

    For a registered `key`, or for a `public_key` that was made for this session alone. It ends with the lease as it
    stands now. `config` is the OpenSSH file, for `ssh -F beamdesk-N.conf desktop`; it holds no private key, and with
    `public_key` expects that as `key_file` in the user's .ssh folder. Where the session's policy does not allow both
    directions of clipboard and files there is none.
    """
    who = person()
    if body.key is not None and body.public_key is None:
        return certificates.for_key(site().runtime, who, session_id, body.key)
    if body.public_key is not None and body.key is None:
        return certificates.for_public_key(site().runtime, who, session_id, body.public_key)
    raise InvalidRequest("A certificate is for one key.", hint="Give either key or public_key.")
