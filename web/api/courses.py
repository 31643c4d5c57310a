"""Courses: for those who teach them, and for those who sit in them."""

from __future__ import annotations

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response

from broker.courses import overview, service
from broker.courses.models import Course
from broker.courses.overview import CourseCard
from broker.courses.service import Lesson
from broker.identity.rights import Right
from broker.sessions.models import SessionState
from broker.sessions.overview import Card
from broker.sessions.reservations import Change
from web.api.schemas import many
from web.api.schemas.courses import (
    CourseBody,
    CourseMadeOut,
    CourseOut,
    CourseSeatOut,
    JoinBody,
    LinkOut,
    MySeatOut,
    PicturesBody,
    TeacherBody,
)
from web.api.schemas.reservations import ChangeBody
from web.api.schemas.sessions import SessionOut
from web.api.sessions import card as session_card
from web.courses import link, pictures
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("courses", __name__, tag="Courses")
ONE = "/courses/<id:course_id>"


@blueprint.get("/courses")
@blueprint.output(many(CourseOut))
@needs(Right.TEACH)
def courses() -> list[CourseCard]:
    """The courses that I teach, the next one first"""
    with site().runtime.database.reading() as db:
        return overview.cards(db, site().settings, person())


@blueprint.post("/courses")
@blueprint.input(CourseBody, arg_name="body")
@blueprint.output(CourseMadeOut, 201)
@blueprint.doc(responses=[403, 404, 409, 422])
@needs(Right.TEACH)
def make(body: CourseBody) -> CourseMadeOut:
    """Make a course

    Its seats are reserved and warm before it begins. `link` is told once; the same request again is the same course,
    without its link.
    """
    lesson = Lesson(**{**body.model_dump(), "teachers": tuple(body.teachers)})
    course, token = service.make(site().runtime, person(), lesson)
    return CourseMadeOut(course=CourseOut.model_validate(_card(course)), link=link(token) if token else None)


@blueprint.get(ONE)
@blueprint.output(CourseOut)
@needs(Right.TEACH)
def course(course_id: int) -> CourseCard:
    """One course that I teach"""
    with site().runtime.database.reading() as db:
        found = service.taught(db, site().settings, person(), course_id, or_admin=True)
        return overview.card(db, site().settings, found.course)


@blueprint.patch(ONE)
@blueprint.input(ChangeBody, arg_name="body")
@blueprint.output(CourseOut)
@blueprint.doc(responses=[409, 422])
@needs(Right.TEACH)
def change(course_id: int, body: ChangeBody) -> CourseCard:
    """Change a course's seats or time

    Sessions that end with it end at its new end.
    """
    return _card(service.change(site().runtime, person(), course_id, Change(**body.model_dump())))


@blueprint.delete(ONE)
@blueprint.output(CourseOut)
@needs(Right.TEACH)
def end(course_id: int) -> CourseCard:
    """End or cancel a course

    Its seats, its link and its people go, and its sessions where it ends those. Twice is once.
    """
    return _card(service.end(site().runtime, person(), course_id))


@blueprint.post(f"{ONE}/teachers")
@blueprint.input(TeacherBody, arg_name="body")
@blueprint.output(CourseOut)
@blueprint.doc(responses=[409, 422])
@needs(Right.TEACH)
def add_teacher(course_id: int, body: TeacherBody) -> CourseCard:
    """Let somebody else teach a course, too

    By the name of their account. Twice is once.
    """
    return _card(service.add_teacher(site().runtime, person(), course_id, body.name))


@blueprint.delete(f"{ONE}/teachers/<teacher>")
@blueprint.output(CourseOut)
@blueprint.doc(responses=[409])
@needs(Right.TEACH)
def remove_teacher(course_id: int, teacher: str) -> CourseCard:
    """Let somebody teach a course no longer

    They see it no longer from this very moment. One teacher stays at least. Twice is once.
    """
    return _card(service.remove_teacher(site().runtime, person(), course_id, teacher))


@blueprint.post(f"{ONE}/link")
@blueprint.output(LinkOut, 201)
@blueprint.doc(responses=[409])
@needs(Right.TEACH)
def renew_link(course_id: int) -> LinkOut:
    """A new invite link

    The one before opens nothing any more; who has a seat keeps it.
    """
    return LinkOut(link=link(service.renew_link(site().runtime, person(), course_id)))


@blueprint.delete(f"{ONE}/link")
@blueprint.output(CourseOut)
@needs(Right.TEACH)
def close_link(course_id: int) -> CourseCard:
    """Let nobody more in"""
    return _card(service.close_link(site().runtime, person(), course_id))


@blueprint.get(f"{ONE}/seats")
@blueprint.output(many(CourseSeatOut))
@needs(Right.TEACH)
def seats(course_id: int) -> list[overview.SeatCard]:
    """Who has come to my course, and how their desktops are"""
    with site().runtime.database.reading() as db:
        found = service.taught(db, site().settings, person(), course_id)
        return overview.seats(db, found)


@blueprint.get(f"{ONE}/seats/<id:user_id>/picture")
@blueprint.output(FileSchema(type="string", format="binary"), content_type="image/jpeg")
@needs(Right.TEACH)
def picture(course_id: int, user_id: int) -> Response:
    """A small picture of a desktop in my course, as JPEG

    Only while the course runs, and of those who consented; that I watch is in the audit log.
    """
    return Response(pictures().of(person(), course_id, user_id), content_type="image/jpeg")


@blueprint.post("/courses/join")
@blueprint.input(JoinBody, arg_name="body")
@blueprint.output(MySeatOut, 201)
@blueprint.doc(responses=[404, 409, 422])
@needs(Right.LAUNCH)
def join(body: JoinBody) -> overview.MySeat:
    """Take part in a course, by the secret of its invite link

    `pictures` says whether the teachers may see small pictures of my desktop. Twice is once.
    """
    return _my_seat(service.accept(site().runtime, person(), body.token, pictures=body.pictures).id)


@blueprint.get(f"{ONE}/seat")
@blueprint.output(MySeatOut)
@needs(Right.READ)
def my_seat(course_id: int) -> overview.MySeat:
    """My seat in a course"""
    return _my_seat(course_id)


@blueprint.post(f"{ONE}/seat")
@blueprint.output(SessionOut)
@blueprint.doc(responses=[409, 422, 429])
@needs(Right.LAUNCH)
def sit_down(course_id: int) -> Card:
    """Launch my desktop in a course, or return to it"""
    session = service.sit_down(site().runtime, person(), course_id)
    if session.state == SessionState.PREPARING:
        site().launcher.start(session.id)
    return session_card(session)


@blueprint.patch(f"{ONE}/seat")
@blueprint.input(PicturesBody, arg_name="body")
@blueprint.output(MySeatOut)
@blueprint.doc(responses=[422])
@needs(Right.LAUNCH)
def share_pictures(course_id: int, body: PicturesBody) -> overview.MySeat:
    """Let the teachers see pictures of my desktop, or no longer"""
    return _my_seat(service.share_pictures(site().runtime, person(), course_id, pictures=body.pictures).id)


def _card(found: Course) -> CourseCard:
    with site().runtime.database.reading() as db:
        return overview.card(db, site().settings, db.get_one(Course, found.id))


def _my_seat(course_id: int) -> overview.MySeat:
    with site().runtime.database.reading() as db:
        return overview.my_seat(db, *service.sitting(db, site().settings, person(), course_id))
