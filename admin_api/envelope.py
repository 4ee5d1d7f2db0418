"""Around every request: its id, its path in one canonical form, its number in the metrics, and the last safety net."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect

from admin_api.errors import crash_response, problem_response
from admin_api.parameters import canonical_path
from server.domain.errors import BadRequest
from server.telemetry import log_context

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from admin_api.doors import ApiDoors

REQUEST_ID = "deskbell.request_id"
METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"})
UNMATCHED = "unmatched"
GONE = 499
"""What is counted where the client left before there was an answer (nginx's number for it)."""

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Envelope:
    """ASGI middleware; outside of everything else of ours."""

    def __init__(self, app: ASGIApp, doors: ApiDoors) -> None:
        self._app = app
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self._app, self._doors, dict(scope), receive, send).run()


class _Exchange:
    """One request. The scope is a copy: the server's own stays as it was."""

    def __init__(self, app: ASGIApp, doors: ApiDoors, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._doors = doors
        self._scope = scope
        self._receive = receive
        self._send = send
        self._status: int | None = None
        self._request_id = _request_id(scope)
        scope[REQUEST_ID] = self._request_id

    async def run(self) -> None:
        started = self._doors.clock.monotonic()
        with log_context(request=self._request_id):
            try:
                await self._answer()
            finally:
                self._count(self._doors.clock.monotonic() - started)

    async def _answer(self) -> None:
        scope = self._scope
        try:
            scope["path"] = canonical_path(scope.get("raw_path") or quote(scope["path"]).encode())
        except BadRequest as refusal:
            await problem_response(refusal, self._request_id)(scope, self._receive, self._sent)
            return
        try:
            await self._app(scope, self._receive, self._sent)
        except ClientDisconnect:
            self._status = GONE
        except Exception:
            self._doors.log.exception("a request failed", method=self._method, route=self._route)
            if self._status is not None:
                raise  # the answer has begun; only cutting the connection can say that it is not whole
            await crash_response(self._request_id)(scope, self._receive, self._sent)

    async def _sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self._request_id.encode())]
            if not any(name.lower() == b"x-content-type-options" for name, _ in headers):
                headers.append((b"x-content-type-options", b"nosniff"))
            message = {**message, "headers": headers}
        elif self._scope["method"] == "HEAD" and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _count(self, seconds: float) -> None:
        status = self._status if self._status is not None else GONE
        self._doors.metrics.http_requests.labels(self._route, self._method, str(status)).inc()
        self._doors.log.debug("request", method=self._method, route=self._route, status=status, seconds=seconds)

    @property
    def _route(self) -> str:
        """The template, never the path: a label a client can choose would fill the memory."""
        route: Any = self._scope.get("route")
        path: str = getattr(route, "path", UNMATCHED)
        return path

    @property
    def _method(self) -> str:
        method: str = self._scope["method"]
        return method if method in METHODS else "other"


def _request_id(scope: Scope) -> str:
    """The caller's own id for the request where it is a sane one, so that logs of both sides can be matched."""
    given: list[bytes] = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _SANE.fullmatch(given[0].decode("latin-1")):
        return given[0].decode()
    return secrets.token_hex(12)
