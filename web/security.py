"""What protects browsers: headers, the origin check, the cookie, and where one may be sent after signing in.

A request that changes something and carries the cookie must come from our own page (Origin, Sec-Fetch-Site) and
must be one that no plain form of another site can send: JSON, or with an X-Requested-With header. A program that
shows its token in the Authorization header needs neither.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, request

from broker.errors import WrongOrigin
from broker.identity.openid import MINUTES
from broker.settings import Settings
from web.site import bearer, site

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PLAIN_FORMS = frozenset({"portal.sign_in"})  # proves itself by the password, not by the cookie
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), clipboard-read=(self), clipboard-write=(self)",
}


def register(app: Flask) -> None:
    """Check every request, and give every answer its headers."""
    app.before_request(refuse_other_sites)
    app.after_request(add_headers)


def refuse_other_sites() -> None:
    """Raise WrongOrigin for a request that changes something and may come from another site's page."""
    if request.method in SAFE or bearer() is not None:
        return
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") or not is_own_origin(
        request.headers.get("Origin"), request.host, site().settings
    ):
        raise WrongOrigin("This request comes from another site's page.", hint="Use Beamdesk's own pages.")
    plain = not request.is_json and "X-Requested-With" not in request.headers
    if plain and site().cookie in request.cookies and request.endpoint not in PLAIN_FORMS:
        raise WrongOrigin(
            "This request could have been sent by another site's form.",
            hint="Send JSON, or an X-Requested-With header.",
        )


def is_own_origin(origin: str | None, host: str, settings: Settings) -> bool:
    """Whether a page of ours sent this: the public address, or the very host that was asked."""
    if origin is None or origin == settings.web.public_url:
        return True
    return urlsplit(origin).netloc == host


def add_headers(response: Response) -> Response:
    """Headers that keep pages to our own scripts, styles and sockets, and out of others' frames."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Content-Security-Policy", content_policy(site().settings, request.host))
    if site().is_https:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def content_policy(settings: Settings, host: str) -> str:
    """The Content-Security-Policy: no inline script or style, sockets to ourselves and to the gateway."""
    sockets = f"ws://{host} wss://{host} {' '.join(gateway_origins(settings, host))}"
    return (
        f"default-src 'self'; connect-src 'self' {sockets}; img-src 'self' data: blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def gateway_origins(settings: Settings, host: str) -> list[str]:
    """Where browsers' desktops are carried: the gateway's public address, and its port on the host that was asked."""
    public = settings.gateway.public_url
    port = urlsplit(public).port
    beside = f"{urlsplit(public).scheme}://{host.rsplit(':', 1)[0]}:{port}" if port else public
    return sorted({public, beside})


def safe_next(wanted: str | None) -> str:
    """A path of ours to go to after signing in; anything that could lead elsewhere becomes the start page."""
    if not wanted or not wanted.startswith("/") or wanted.startswith(("//", "/\\")) or "\\" in wanted:
        return "/"
    if any(ord(character) < 32 for character in wanted) or urlsplit(wanted).netloc:
        return "/"
    return wanted


def set_cookie(response: Response, token: str) -> None:
    """Let the browser keep the sign-in: not readable by scripts, not sent by other sites' requests."""
    here = site()
    seconds = int(here.settings.web.sign_in_hours * 3600)
    response.set_cookie(
        here.cookie, token, max_age=seconds, path="/", httponly=True, samesite="Lax", secure=here.is_https
    )


def clear_cookie(response: Response) -> None:
    """Let the browser forget the sign-in."""
    here = site()
    response.delete_cookie(here.cookie, path="/", httponly=True, samesite="Lax", secure=here.is_https)


def _begun_name() -> str:
    """The cookie of a sign-in that is under way; under https no other host, nor a neighbour's page, can set it."""
    return f"{site().cookie}-begun"


def begun() -> str:
    """What this browser keeps of the sign-in that it began, sealed."""
    return request.cookies.get(_begun_name(), "")


def set_begun(response: Response, kept: str) -> None:
    """Let the browser keep what is needed when it comes back; Lax, because it comes back from another site."""
    response.set_cookie(
        _begun_name(), kept, max_age=MINUTES * 60, path="/", httponly=True, samesite="Lax", secure=site().is_https
    )


def clear_begun(response: Response) -> None:
    """Let the browser forget it: each answer counts once."""
    response.delete_cookie(_begun_name(), path="/", httponly=True, samesite="Lax", secure=site().is_https)
