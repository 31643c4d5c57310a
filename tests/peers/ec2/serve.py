"""`serve.py PORT`: Moto's EC2 API. Run by the Python that has Moto.

Three things are as Amazon has them, and not as Moto does: the answers' namespace ends with a slash, without which
Libcloud sees nothing in them; errors have no namespace; and lists may be numbered from 0.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

NUMBERED = re.compile(r"\b(ResourceId|Tag)\.(\d+)")
NAMESPACE = b"ec2.amazonaws.com/doc/2016-11-15"
ERROR = re.compile(rb'<Response xmlns="[^"]*">')
_moto = DomainDispatcherApplication(create_backend_app)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Moto, corrected."""
    query = environ.get("QUERY_STRING", "")
    if re.search(r"\b(ResourceId|Tag)\.0\b", query):
        environ["QUERY_STRING"] = NUMBERED.sub(lambda found: f"{found[1]}.{int(found[2]) + 1}", query)
    said: list[Any] = []
    body = b"".join(_moto(environ, lambda *answer: said.extend(answer[:2])))
    body = body.replace(NAMESPACE + b'"', NAMESPACE + b'/"')
    body = ERROR.sub(b"<Response>", body)
    status, headers = said
    length = ("Content-Length", str(len(body)))
    dropped = ("content-length", "transfer-encoding")
    start_response(status, [*((key, value) for key, value in headers if key.lower() not in dropped), length])
    return [body]


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), application, threaded=True).serve_forever()
