"""API tokens: one's own, and those with which a program acts for a user."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint

from broker.identity import tokens
from broker.identity.models import SignIn
from broker.identity.rights import Right
from web.api.schemas import many
from web.api.schemas.tokens import ActForBody, TokenBody, TokenMadeOut, TokenOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("tokens", __name__, tag="Sign-in")


@blueprint.get("/me/tokens")
@blueprint.output(many(TokenOut))
@needs(Right.ACCOUNT)
def my_tokens() -> list[TokenOut]:
    """My tokens, the newest first

    With those that programs were given to act for me.
    """
    with site().runtime.database.reading() as db:
        return [TokenOut(**shown(row)) for row in tokens.listed(db, person())]


@blueprint.post("/me/tokens")
@blueprint.input(TokenBody, arg_name="body")
@blueprint.output(TokenMadeOut, 201)
@blueprint.doc(responses=[422, 429])
@needs(Right.ACCOUNT)
def make(body: TokenBody) -> TokenMadeOut:
    """Make a token for a program of mine

    It does what its `rights` say, and never more than I may. Its secret is told only now.
    """
    rights, lasts = [Right(right) for right in body.rights], timedelta(days=body.days)
    return _made(*tokens.make(site().runtime, person(), body.name, rights, lasts))


@blueprint.delete("/me/tokens/<id:token_id>")
@blueprint.doc(responses={204: "Revoked"})
@needs(Right.ACCOUNT)
def revoke(token_id: int) -> tuple[str, int]:
    """Revoke a token

    What was opened by it closes. Twice is once.
    """
    tokens.revoke(site().runtime, person(), token_id)
    return "", 204


@blueprint.post("/act-for")
@blueprint.input(ActForBody, arg_name="body")
@blueprint.output(TokenMadeOut, 201)
@blueprint.doc(responses=[404, 422])
@needs(Right.ACT)
def act_for(body: ActForBody) -> TokenMadeOut:
    """A token to act for a user

    For service accounts whose own token has the right `act`: another front end launches and connects for its users.
    The user sees the token, and can revoke it.
    """
    rights, lasts = [Right(right) for right in body.rights], timedelta(minutes=body.minutes)
    return _made(*tokens.act_for(site().runtime, person(), body.user, rights, lasts))


def _made(secret: str, row: SignIn) -> TokenMadeOut:
    return TokenMadeOut(**shown(row), token=secret)


def shown(row: SignIn) -> dict[str, Any]:
    """What is told of a token, but for its secret."""
    return {
        "id": row.id,
        "name": row.name,
        "rights": row.rights,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "for_program": row.acting_id is not None,
    }
