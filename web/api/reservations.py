"""Administrators: reservations."""

from __future__ import annotations

from apiflask import APIBlueprint

from broker.identity.rights import Right
from broker.pools.allocation import Wish
from broker.pools.models import Reservation
from broker.sessions import booked, reservations
from broker.sessions.booked import ReservationCard
from broker.sessions.reservations import Change, Plan
from web.api.schemas import many
from web.api.schemas.reservations import ChangeBody, ReservationBody, ReservationOut
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("reservations", __name__, tag="Administration")
ONE = "/reservations/<id:reservation_id>"


@blueprint.get("/reservations")
@blueprint.output(many(ReservationOut))
@needs(Right.LOOK)
def all_reservations() -> list[ReservationCard]:
    """The reservations that are not over for more than a day, the next one first"""
    with site().runtime.database.reading() as db:
        return booked.cards(db, site().settings)


@blueprint.post("/reservations")
@blueprint.input(ReservationBody, arg_name="body")
@blueprint.output(ReservationOut, 201)
@blueprint.doc(responses=[404, 409, 422])
@needs(Right.OPERATE)
def reserve(body: ReservationBody) -> ReservationCard:
    """Reserve machines of an environment for a group

    The pools are those that are named, or the best for the wish. The same request again is the same reservation.
    Where there is not so much room, `possible` says how many there could be.
    """
    wish = Wish(body.environment, **body.wish.model_dump())
    plan = Plan(body.title, body.group, body.seats, body.starts_at, body.ends_at, wish, tuple(body.pools))
    return _card(reservations.make(site().runtime, person(), plan))


@blueprint.get(ONE)
@blueprint.output(ReservationOut)
@needs(Right.LOOK)
def reservation(reservation_id: int) -> ReservationCard:
    """One reservation"""
    with site().runtime.database.reading() as db:
        return booked.card(db, site().settings, reservations.one(db, reservation_id))


@blueprint.patch(ONE)
@blueprint.input(ChangeBody, arg_name="body")
@blueprint.output(ReservationOut)
@blueprint.doc(responses=[409, 422])
@needs(Right.OPERATE)
def change(reservation_id: int, body: ChangeBody) -> ReservationCard:
    """Change a group's reservation

    Other seats, or another time. A course is changed as such.
    """
    return _card(reservations.change(site().runtime, person(), reservation_id, Change(**body.model_dump())))


@blueprint.delete(ONE)
@blueprint.output(ReservationOut)
@blueprint.doc(responses=[409])
@needs(Right.OPERATE)
def cancel(reservation_id: int) -> ReservationCard:
    """Cancel a group's reservation

    Nothing is kept for it any more; sessions that run go on. Twice is once. A course is ended as such.
    """
    return _card(reservations.cancel(site().runtime, person(), reservation_id))


def _card(row: Reservation) -> ReservationCard:
    with site().runtime.database.reading() as db:
        return booked.card(db, site().settings, row)
