"""The HTTP application: every door on one port. `server/wiring.py` calls `create_app`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from admin_api.dispatch import not_routed, routes_of
from admin_api.doors import ApiDoors, ApiLimits, ApiRates, Services
from admin_api.envelope import Envelope
from admin_api.pages import page_routes
from admin_api.routes import OPERATIONS
from admin_api.sockets import socket_routes

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

__all__ = ["ApiDoors", "ApiLimits", "Services", "create_app"]


def create_app(doors: ApiDoors) -> Starlette:
    """The ASGI application of a node. It needs no lifespan: whatever it uses is started and closed by the caller."""
    rates = ApiRates(doors.limits, doors.clock)
    routes: list[BaseRoute] = [*routes_of(doors, rates, OPERATIONS), *socket_routes(doors), *page_routes(doors)]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Envelope, doors)],
        exception_handlers={HTTPException: not_routed},
    )
    # A path is what it is: a redirect would turn a PUT with a typo into something else.
    app.router.redirect_slashes = False
    return app
