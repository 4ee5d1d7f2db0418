"""What machines ask about this node: is it alive, should it get traffic, its numbers, and the two API documents."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import Nothing
from sdk_protocol.asyncapi import document as sockets_document

if TYPE_CHECKING:
    from collections.abc import Callable

Asked = Call[Nothing, Nothing, None]


class Alive(msgspec.Struct, kw_only=True, frozen=True):
    status: Literal["alive"] = "alive"
    version: str


class Ready(msgspec.Struct, kw_only=True, frozen=True):
    """`reasons`, by concern, say why this node should get no traffic; they are there when it should not."""

    status: Literal["ready", "not_ready"]
    version: str
    database: dict[str, str]
    reasons: dict[str, str] | UnsetType = UNSET


async def livez(call: Asked) -> Answer:
    return Answer(200, Alive(version=call.doors.version))


async def readyz(call: Asked) -> Answer:
    reasons = await call.doors.readiness()
    return Answer(
        503 if reasons else 200,
        Ready(
            status="not_ready" if reasons else "ready",
            version=call.doors.version,
            database=call.doors.database_info(),
            reasons=reasons or UNSET,
        ),
    )


async def metrics(call: Asked) -> Answer:
    numbers, page = call.doors.metrics, call.doors.metrics_page
    text = numbers.render() if page is None else await page()
    return Answer(200, text, media_type=numbers.content_type)


async def asyncapi(call: Asked) -> Answer:
    return Answer(200, _sockets(), {"Cache-Control": "no-cache"})


async def openapi(call: Asked) -> Answer:
    from admin_api.openapi import rendered  # the document is made from the very table this is an entry of

    return Answer(200, rendered(), {"Cache-Control": "no-cache"})


@cache
def _sockets() -> bytes:
    return msgspec.json.encode(sockets_document())


def _operation(path: str, handler: Callable[[Any], Any], **rest: Any) -> Operation:
    return Operation(method="GET", path=path, tag="health", door=Door.PUBLIC, handler=handler, **rest)


_DATABASE = {"source": "embedded", "version": "18.6"}
_DOCUMENT = {"openapi": "3.1.0"}

OPERATIONS = (
    _operation(
        "/livez",
        livez,
        id="livez",
        summary="Is the process alive?",
        answers={200: Answered("It is.", Alive, {"status": "alive", "version": "0.1.0"})},
    ),
    _operation(
        "/readyz",
        readyz,
        id="readyz",
        summary="Should this node get traffic?",
        description="Not while it drains, and not while delivery is degraded.",
        answers={
            200: Answered("It should.", Ready, {"status": "ready", "version": "0.1.0", "database": _DATABASE}),
            503: Answered(
                "It should not.",
                Ready,
                {
                    "status": "not_ready",
                    "version": "0.1.0",
                    "database": _DATABASE,
                    "reasons": {"drain": "this node is going away"},
                },
            ),
        },
    ),
    _operation(
        "/metrics",
        metrics,
        id="metrics",
        summary="Numbers for Prometheus",
        answers={
            200: Answered(
                "The Prometheus text format.",
                str,
                'deskbell_connections{door="chat"} 2.0\n',
                media_type="text/plain",
            )
        },
    ),
    _operation(
        "/openapi.json",
        openapi,
        id="openapi",
        summary="This document",
        answers={200: Answered("OpenAPI 3.1.", dict[str, Any], _DOCUMENT)},
    ),
    _operation(
        "/asyncapi.json",
        asyncapi,
        id="asyncapi",
        summary="The sockets' document",
        answers={200: Answered("AsyncAPI 3.", dict[str, Any], {"asyncapi": "3.0.0"})},
    ),
)
