"""Files of the home on a session's machine, streamed."""

from __future__ import annotations

from collections.abc import Iterator

from apiflask import APIBlueprint
from flask import Response, request

from agents.protocol import FileAnswer
from broker.configuration.stream import PIECE
from broker.errors import InvalidRequest
from broker.identity.rights import Right
from broker.sessions import transfers
from web.api.schemas.files import FileOut, FileQuery, FolderOut, FolderQuery
from web.rights import needs
from web.site import person, site

blueprint = APIBlueprint("files", __name__, tag="Files")
FILES = "/sessions/<id:session_id>/files"


@blueprint.get(FILES)
@blueprint.input(FolderQuery, location="query", arg_name="query")
@blueprint.output(FolderOut)
@blueprint.doc(responses=[403, 409, 502, 503])
@needs(Right.CONNECT)
def folder(session_id: int, query: FolderQuery) -> FolderOut:
    """A folder of my home, on the machine of my session

    `folder` is its path within the home. What is hidden, and links, are not listed; no file is where none may be taken
    out.
    """
    found = transfers.folder(site().runtime, person(), session_id, query.folder)
    files = [FileOut(name=name, size=int(size)) for name, size in found.files.items()]
    return FolderOut(folder=query.folder, folders=list(found.folders), files=files, more=found.more, free=found.free)


@blueprint.post(FILES)
@blueprint.input(FileQuery, location="query", arg_name="query")
@blueprint.output(FileOut, 201)
@blueprint.doc(responses=[403, 409, 429, 502, 503, 507])
@needs(Right.CONNECT)
def upload(session_id: int, query: FileQuery) -> FileAnswer:
    """Put a file into my home

    Its bytes are the body, whose length must be said. A name that is taken gets a number; no file is replaced.
    """
    if request.content_length is None:
        raise InvalidRequest("The length of the file is not said.", hint="Send a Content-Length.")
    request.max_content_length = request.content_length + 1  # to read the last byte that is allowed is refused
    return transfers.upload(
        site().runtime, person(), session_id, query.folder, query.name, request.content_length, pieces()
    )


@blueprint.get(f"{FILES}/content")
@blueprint.input(FileQuery, location="query", arg_name="query")
@blueprint.doc(responses=[403, 409, 429, 502, 503])
@needs(Right.CONNECT)
def download(session_id: int, query: FileQuery) -> Response:
    """A file of my home"""
    found = transfers.download(site().runtime, person(), session_id, query.folder, query.name)
    answer = Response(found.pieces, content_type="application/octet-stream", direct_passthrough=True)
    answer.call_on_close(found.close)
    answer.content_length = found.size
    answer.headers.set("Content-Disposition", "attachment", filename=found.name)
    return answer


def pieces() -> Iterator[bytes]:
    """The body, as it comes."""
    while piece := request.stream.read(PIECE):
        yield piece
