"""Who is calling: bearer secrets, console sessions and their CSRF tokens (http.md, "Common")."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server.domain.errors import Forbidden, Unauthorized
from server.domain.ids import SESSION_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COOKIE = "deskbell_session"
CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,512}=*)", re.IGNORECASE)  # RFC 6750 §2.1
_SECRET = re.compile(rf"{SESSION_PREFIX}[A-Za-z0-9_-]{{1,200}}")


def bearer_of(given: list[str]) -> str | None:
    """The secret in the `Authorization` headers; None if there is no such header. Raises Unauthorized."""
    if not given:
        return None
    found = _BEARER.fullmatch(given[0].strip()) if len(given) == 1 else None
    if found is None:
        raise Unauthorized("Send exactly one header of the form `Authorization: Bearer <key>`.")
    return found[1]


def csrf_token_of(session: str) -> str:
    """Derived from the session's secret, so that nothing needs storing; it does not tell the secret."""
    return hmac.new(session.encode(), b"csrf", "sha256").hexdigest()


def session_of(cookies: Iterable[str]) -> str | None:
    """The session secret in `Cookie` headers. Two of them are none: one would be somebody else's."""
    found = [
        value.strip().strip('"')
        for header in cookies
        for name, _, value in (part.partition("=") for part in header.split(";"))
        if name.strip() == COOKIE
    ]
    return found[0] if len(found) == 1 and _SECRET.fullmatch(found[0]) else None


def cookie_of(headers: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """(session secret, CSRF token) from the headers of a WebSocket handshake, names in lower case, or None. A page of
    another origin gets None: browsers send cookies with its handshakes too."""
    if not same_origin(headers):
        return None
    session = session_of(value for name, value in headers if name == "cookie")
    return (session, csrf_token_of(session)) if session is not None else None


def same_origin(headers: Iterable[tuple[str, str]]) -> bool:
    """False if `Origin` names another host than `Host` does. Programs send no Origin."""
    given = list(headers)
    origins = [value for name, value in given if name == "origin"]
    hosts = [value for name, value in given if name == "host"]
    if not origins:
        return True
    return len(origins) == len(hosts) == 1 and _host(origins[0]) == hosts[0].strip().lower() != ""


def check_csrf(method: str, session: str, headers: list[tuple[str, str]]) -> None:
    """An unsafe request that a cookie vouches for must come from our own page. Raises Forbidden."""
    if method in SAFE_METHODS:
        return
    if not same_origin(headers):
        raise Forbidden("This request comes from a page of another origin.", field="Origin")
    given = [value for name, value in headers if name == CSRF_HEADER.lower()]
    expected = csrf_token_of(session)
    if len(given) != 1 or not hmac.compare_digest(given[0].encode(), expected.encode()):
        raise Forbidden(
            f"A console session needs the header `{CSRF_HEADER}` with the `csrf_token` of GET /admin/v1/me.",
            field=CSRF_HEADER,
        )


def set_cookie(session: str, lifetime_s: int, *, scheme: str, host: str) -> str:
    """The value of `Set-Cookie` for a new session; with an empty `session`, the one that removes it.

    Secure, but for plain HTTP on this very machine, where there is no certificate to be had.
    """
    plain = scheme == "http" and _name_of(host) in LOOPBACK
    parts = [f"{COOKIE}={session}", "HttpOnly", "SameSite=Lax", "Path=/", f"Max-Age={lifetime_s}"]
    return "; ".join(parts if plain else [*parts, "Secure"])


def _host(origin: str) -> str | None:
    try:
        parts = urlsplit(origin.strip())
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
