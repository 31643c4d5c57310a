"""What crosses the edge, a module for each noun: the bodies and queries that are taken, and what is answered.

Here is what they are made of.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

MOST_ID = 999_999_999  # of any row
Id = Annotated[int, Field(ge=1, le=MOST_ID)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")]


def _in_utc(moment: datetime) -> datetime:
    if not 2000 <= moment.year < 2200:
        raise ValueError("give a year from 2000 to 2199")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_utc)]  # said in any zone


class Taken(BaseModel):
    """A body: JSON types are taken as they are, and unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Asked(BaseModel):
    """A query: values come as text."""

    model_config = ConfigDict(extra="forbid")


class Given(BaseModel):
    """An answer, read from the broker's own values."""

    model_config = ConfigDict(from_attributes=True)


def many(schema: type[Given]) -> Any:
    """A list of these, as APIFlask takes it and its types do not say."""
    return list[schema]  # type: ignore[valid-type]


class Problem(Given):
    """Any error (RFC 9457). Some carry facts of their own beside these members."""

    type: str
    title: str
    status: int
    detail: str
    hint: str
    code: str
