"""`/v1/chat` and `/v1/desk`: the gateway's, mounted here so that one port has all doors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route, WebSocketRoute

from admin_api.dispatch import method_not_allowed
from admin_api.envelope import REQUEST_ID
from admin_api.errors import UpgradeRequired, problem_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from admin_api.doors import ApiDoors


class Socket:
    """An ASGI application as Starlette mounts one; a bare method it would take for an endpoint of its own kind."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def upgrade_required(request: Request) -> Response:
    """What a browser's address bar gets."""
    error = (
        UpgradeRequired(f"{request.url.path} is a WebSocket: connect with ws:// or wss:// (docs/protocol.md).")
        if request.method in ("GET", "HEAD")
        else method_not_allowed(request.method, ["GET"])
    )
    return problem_response(error, request.scope.get(REQUEST_ID))


def socket_routes(doors: ApiDoors) -> list[BaseRoute]:
    routes: list[BaseRoute] = []
    for path in ("/v1/chat", "/v1/desk"):
        routes.append(WebSocketRoute(path, Socket(doors.sockets)))
        routes.append(Route(path, upgrade_required, methods=None))
    return routes
