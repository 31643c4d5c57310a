"""Files of a home."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from web.api.schemas import Asked, Given

NAME = r"[^/\x00-\x1f\x7f-\x9f]+"
Folder = Annotated[str, StringConstraints(max_length=1000, pattern=f"^({NAME}(/{NAME})*)?$")]
Name = Annotated[str, StringConstraints(max_length=240, pattern=f"^{NAME}$")]


class FolderQuery(Asked):
    """A folder, by its path within the home; empty for the home itself."""

    folder: Folder = ""


class FileQuery(FolderQuery):
    """One file of it."""

    name: Name


class FileOut(Given):
    """A file and its size in bytes."""

    name: str
    size: int


class FolderOut(Given):
    """What is in a folder, `more` where not all of it is listed, and how many bytes are free."""

    folder: str
    folders: list[str]
    files: list[FileOut]
    more: bool
    free: int
