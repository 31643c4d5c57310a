"""Courses: the teacher's pages, the invitation, and one's own seat."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, url_for

from broker.courses import overview, pictures, service
from broker.courses.rules import When
from web.site import person, person_or_none, site

blueprint = Blueprint("courses_pages", __name__)


@blueprint.get("/courses")
def courses() -> str:
    """The courses that I teach, and those in which I sit."""
    return render_template("courses.html", **_courses())


@blueprint.get("/fragments/courses")
def list_of_courses() -> str:
    """The same, fetched afresh."""
    return render_template("fragments/courses.html", **_courses())


def _courses() -> dict[str, Any]:
    who, settings = person(), site().settings
    open_to_me = [e for e in settings.environments.values() if who.is_admin or e.open_to(who.groups)]
    with site().runtime.database.reading() as db:
        return {
            "courses": overview.cards(db, settings, who),
            "my_seats": overview.mine(db, settings, who),
            "may_teach": service.may_teach(settings, who),
            "offered": {environment.name: environment.title for environment in open_to_me},
            "usual_notice": service.NOTICE,
        }


@blueprint.get("/courses/<id:course_id>")
def course(course_id: int) -> str:
    """The teacher's view of a course."""
    return render_template("course.html", **_course(course_id))


@blueprint.get("/fragments/courses/<id:course_id>")
def seats(course_id: int) -> str:
    """Who is there, fetched afresh."""
    return render_template("fragments/course.html", **_course(course_id))


def _course(course_id: int) -> dict[str, Any]:
    who, settings = person(), site().settings
    with site().runtime.database.reading() as db:
        found = service.taught(db, settings, who, course_id)
        values = {
            "course": overview.card(db, settings, found.course),
            "teachers": overview.teachers(db, found.course),
            "seats": overview.seats(db, found),
        }
    if found.when is When.OPEN:
        pictures.note_watching(site().runtime, who, course_id)
    return values


@blueprint.get("/courses/<id:course_id>/seat")
def seat(course_id: int) -> str:
    """One's own seat."""
    return render_template("seat.html", seat=_seat(course_id))


@blueprint.get("/fragments/courses/<id:course_id>/seat")
def own_seat(course_id: int) -> str:
    """One's own seat, fetched afresh."""
    return render_template("fragments/seat.html", seat=_seat(course_id))


def _seat(course_id: int) -> overview.MySeat:
    with site().runtime.database.reading() as db:
        return overview.my_seat(db, *service.sitting(db, site().settings, person(), course_id))


@blueprint.get("/join/<token>")
def invitation(token: str) -> Response:
    """Sign in first; then read what the teacher will see, and take part."""
    who = person_or_none()
    if who is None:
        return make_response(redirect(url_for("portal.sign_in", next=url_for(".invitation", token=token))))
    found = service.arrive(site().runtime, who, token[:64])
    with site().runtime.database.reading() as db:
        mine = {one.course for one in overview.mine(db, site().settings, who)}
        teachers = list(overview.teachers(db, found.course).values())
        full = overview.is_full(db, found)
    if found.course.id in mine:
        return make_response(redirect(url_for(".seat", course_id=found.course.id)))
    shown = {"course": found.course, "booked": found.reservation, "when": found.when, "full": full}
    return make_response(render_template("join.html", **shown, teachers=teachers, token=token))
