"""Courses and the people who sit in them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from broker.database import Base, now


class Course(Base):
    """A course: its seats and its time are its reservation's. Of the invite link only the secret's hash is kept."""

    __tablename__ = "courses"

    id: Mapped[int] = mapped_column(primary_key=True)
    reservation_id: Mapped[int] = mapped_column(ForeignKey("reservations.id"), unique=True)
    title: Mapped[str] = mapped_column(String(80))
    notice: Mapped[str] = mapped_column(Text)  # what people consent to, in the teacher's own words
    teachers: Mapped[list[str]]  # names of accounts
    token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)  # of the link; None: there is none
    made_by: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[datetime] = mapped_column(default=now)
    over_at: Mapped[datetime | None]  # when it was cleared away


class Seat(Base):
    """One person in one course, from the first look at the invitation. It goes with the course."""

    __tablename__ = "course_seats"

    course_id: Mapped[int] = mapped_column(ForeignKey("courses.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    arrived_at: Mapped[datetime] = mapped_column(default=now)
    accepted_at: Mapped[datetime | None]
    pictures: Mapped[bool] = mapped_column(default=False)  # whether the teacher may see pictures of the desktop
