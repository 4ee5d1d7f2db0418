"""What a node answers, by the roles it has. Health is answered by all of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH = frozenset({"/livez", "/readyz", "/metrics"})
SOCKETS = frozenset({"/v1/chat", "/v1/desk"})


def only_for(app: ASGIApp, roles: frozenset[str]) -> ASGIApp:
    """`app` without the doors that belong to other roles: sockets to `gateway`, everything else but health to `api`."""
    if {"gateway", "api"} <= roles:
        return app

    async def filtered(scope: Scope, receive: Receive, send: Send) -> None:
        if _belongs(scope, roles):
            await app(scope, receive, send)
            return
        start = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        problem = {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "code": "not_found",
            "detail": f"This node has the roles {', '.join(sorted(roles))}; this door is another node's.",
        }
        headers = [(b"content-type", b"application/problem+json")]
        await send({"type": f"{start}.start", "status": 404, "headers": headers})
        await send({"type": f"{start}.body", "body": json.dumps(problem).encode()})

    return filtered


def _belongs(scope: Scope, roles: frozenset[str]) -> bool:
    if scope["type"] == "websocket" or scope.get("path") in SOCKETS:
        return "gateway" in roles
    return "api" in roles or scope.get("path") in HEALTH
