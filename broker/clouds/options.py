"""What a provider takes as clouds.NAME.options, checked."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from broker.errors import BadSettings
from broker.settings import CloudSettings


class Options(BaseModel):
    """The keys of clouds.NAME.options that a provider takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


OptionsT = TypeVar("OptionsT", bound=Options)


def options_of(settings: CloudSettings, kind: type[OptionsT]) -> OptionsT:
    """The cloud's options, checked; BadSettings names each mistake."""
    try:
        return kind(**settings.options)
    except ValidationError as error:
        place = f"clouds.{settings.name}.options"
        mistakes = [f"{'.'.join((place, *map(str, e['loc'])))}: {e['msg']}" for e in error.errors()]
        known = ", ".join(kind.model_fields)
        raise BadSettings(f"{'; '.join(mistakes)}.", hint=f"{settings.driver} takes these options: {known}.") from None


def listed(option: str) -> list[str]:
    """The names of an option that takes several, with commas; empty ones are passed over."""
    return [name.strip() for name in option.split(",") if name.strip()]
