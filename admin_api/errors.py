"""Refusals as answers: RFC 9457 problem details, and the one table from errors to status codes."""

from __future__ import annotations

import math
from http import HTTPStatus

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from admin_api.records import Event
from admin_api.translate import event_record
from server.domain import errors


class UnsupportedMediaType(errors.BadRequest):
    """The body is not JSON, or does not say so."""


class MethodNotAllowed(errors.BadRequest):
    """There is such a path, but not with this method. `allowed` is for the `Allow` header (RFC 9110 §10.2.1)."""

    def __init__(self, message: str, allowed: list[str]) -> None:
        super().__init__(message)
        self.allowed = allowed


class UpgradeRequired(errors.BadRequest):
    """A WebSocket was asked for as a page (RFC 9110 §15.5.22)."""


STATUS: dict[type[errors.DomainError], int] = {
    errors.BadRequest: 400,
    errors.TooLarge: 413,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.OutOfOrder: 409,
    errors.IdempotencyConflict: 409,
    errors.Conflict: 409,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    UnsupportedMediaType: 415,
    MethodNotAllowed: 405,
    UpgradeRequired: 426,
}


def title_of(status: int) -> str:
    """As RFC 9110 calls it; Python before 3.13 has an older name for one of them."""
    return "Content Too Large" if status == 413 else HTTPStatus(status).phrase


class Problem(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """RFC 9457. `code` is for programs, `detail` for the developer; `field` is where in the request it is wrong."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | UnsetType = UNSET
    retry_after: int | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    events: list[Event] | UnsetType = UNSET


class Refusal(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Why one item of a batch was refused."""

    code: str
    detail: str
    field: str | UnsetType = UNSET


def status_of(error: errors.DomainError) -> int:
    """By the most special class that has a status."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def refusal_of(error: errors.DomainError) -> Refusal:
    return Refusal(code=error.code, detail=error.message, field=error.field if error.field is not None else UNSET)


def problem_response(error: errors.DomainError, request_id: str | None = None) -> Response:
    """The answer to a request that was refused."""
    headers: dict[str, str] = {}
    retry_after: int | UnsetType = UNSET
    if isinstance(error, errors.RateLimited | errors.Unavailable):
        retry_after = max(1, math.ceil(error.retry_after))
        headers["Retry-After"] = str(retry_after)
    if isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="deskbell"'
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, UpgradeRequired):
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    if isinstance(error, errors.TooLarge):
        headers["Connection"] = "close"  # the rest of the body was not read
    newer = error.events if isinstance(error, errors.Conflict) else ()
    status = status_of(error)
    return _response(
        Problem(
            type="about:blank",
            title=title_of(status),
            status=status,
            code=error.code,
            detail=error.message,
            field=error.field if error.field is not None else UNSET,
            retry_after=retry_after,
            request_id=request_id if request_id is not None else UNSET,
            events=[event_record(event) for event in newer] if isinstance(error, errors.Conflict) else UNSET,
        ),
        headers,
    )


def crash_response(request_id: str) -> Response:
    """The answer where something broke that is our fault. It says no more than where to look in the log."""
    return _response(
        Problem(
            type="about:blank",
            title=title_of(500),
            status=500,
            code=errors.Unavailable.code,
            detail="Something broke on our side. If it stays so, tell the operator this request's id.",
            request_id=request_id,
        ),
        {},
    )


def _response(problem: Problem, headers: dict[str, str]) -> Response:
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        headers=headers | {"Cache-Control": "no-store"},
        media_type="application/problem+json",
    )
