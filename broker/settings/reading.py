"""Reads beamdesk.toml and BEAMDESK_* of the environment, and says what is wrong with them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from broker.errors import BadSettings
from broker.settings.section import listed
from broker.settings.whole import Settings, path


def load(config: Path | None = None) -> Settings:
    """Read and check the settings from `config`, or from where BEAMDESK_CONFIG says."""
    config = config or path()
    if not config.is_file():
        raise BadSettings(
            f"There is no settings file {config}.",
            hint="Set BEAMDESK_CONFIG, or start in the folder of beamdesk.toml.",
        )
    os.environ["BEAMDESK_CONFIG"] = str(config)
    try:
        _refuse_unknown_environment(os.environ)
        return Settings()
    except OSError as error:
        raise BadSettings(f"{config} cannot be read: {error.strerror}.", hint="Let this account read it.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "Mend the line that it names." if isinstance(error, tomllib.TOMLDecodeError) else "Save it as UTF-8."
        raise BadSettings(f"{config} is not valid TOML: {error}.", hint=hint) from None
    except ValidationError as error:
        raise BadSettings(_explain(config, error), hint="Mend these keys; docs/settings.md lists them all.") from None


def _refuse_unknown_environment(environment: Mapping[str, str]) -> None:
    known = {"BEAMDESK_CONFIG", *(f"BEAMDESK_{field.upper()}" for field in Settings.model_fields)}
    for name in environment:
        if name.startswith("BEAMDESK_") and name.split("__")[0] not in known:
            raise BadSettings(f"{name} in the environment is no setting.", hint=f"Known: {listed(sorted(known))}.")


def _explain(config: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(f"{config}: {key}: no such key{_allowed_keys(problem['loc'])}")
        elif not key:
            lines += [f"{config}: {line}" for line in message.splitlines()]
        elif problem["type"] == "missing":
            lines.append(f"{config}: {key}: is missing")
        else:
            given = "" if isinstance(problem["input"], dict) else f" = {problem['input']!r}"
            lines.append(f"{config}: {key}{given}: {_plain(message)}")
    return "\n".join(lines)


def _plain(message: str) -> str:
    return message.replace("Input should be", "must be").replace("String should match pattern", "must match")


def _allowed_keys(location: tuple[int | str, ...]) -> str:
    model: Any = Settings
    parts = list(location[:-1])
    while parts:
        part = parts.pop(0)
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            annotation: Any = field.annotation if field else None
            inner = [a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
            model = inner[0] if inner else annotation
            parts = parts[1:] if inner else parts  # the name of one of many
    if isinstance(model, type) and issubclass(model, BaseModel):
        return f"; allowed: {listed(sorted(model.model_fields))}"
    return ""
