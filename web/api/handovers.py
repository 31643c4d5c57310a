"""Handovers: a session gets another owner, whom its owner offers it to, and who accepts."""

from __future__ import annotations

from apiflask import APIBlueprint

from broker.identity.rights import Right
from broker.sharing import handover, offers
from broker.sharing.models import Handover, Outcome
from broker.sharing.offers import Offer
from web.api.schemas import many
from web.api.schemas.handovers import HandoverAnswerBody, HandoverBody, HandoverOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("handovers", __name__, tag="Shares")
ONE = "/handovers/<id:handover_id>"
ANSWERS = {Outcome.ACCEPTED: handover.accept, Outcome.REFUSED: handover.refuse}


@blueprint.post("/sessions/<id:session_id>/handovers")
@blueprint.input(HandoverBody, arg_name="body")
@blueprint.output(HandoverOut, 201)
@blueprint.doc(responses=[403, 404, 409, 422])
@needs(Right.LAUNCH)
def offer(session_id: int, body: HandoverBody) -> Offer:
    """Offer my session to another member of its group

    Who accepts within 15 minutes becomes its owner. The desktop goes on under my account, with my home and files open
    in it; I can open it no longer, and my shares of it end. The same user again lasts anew. An administrator may do so
    for somebody who has left, and says why.
    """
    return _shown(handover.offer(site().runtime, person(), session_id, body.user, body.reason))


@blueprint.get("/handovers")
@blueprint.output(many(HandoverOut))
@needs(Right.READ)
def mine() -> list[Offer]:
    """What was offered to me and by me, the newest first"""
    with site().runtime.database.reading() as db:
        return offers.of_person(db, site().settings, person())


@blueprint.post(ONE)
@blueprint.input(HandoverAnswerBody, arg_name="body")
@blueprint.output(HandoverOut)
@blueprint.doc(responses=[403, 404, 409, 429])
@needs(Right.LAUNCH)
def answer(handover_id: int, body: HandoverAnswerBody) -> Offer:
    """Accept a session that is offered to me, or refuse it

    Read its `terms` first. It counts for me from then on, and what its giver has open closes within a second.
    """
    return _shown(ANSWERS[Outcome(body.answer)](site().runtime, person(), handover_id))


@blueprint.delete(ONE)
@blueprint.output(HandoverOut)
@blueprint.doc(responses=[404, 409])
@needs(Right.LAUNCH)
def withdraw(handover_id: int) -> Offer:
    """Offer it no longer

    The giver may, also where an administrator has offered it, and who made the offer. Twice is once.
    """
    return _shown(handover.withdraw(site().runtime, person(), handover_id))


def _shown(found: Handover) -> Offer:
    with site().runtime.database.reading() as db:
        return offers.one(db, site().settings, person(), found)
