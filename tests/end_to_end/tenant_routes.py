"""The matrix of HTTP routes a tenant could try on another: one line a route, from the HTTP contract.

A route that `/openapi.json` lists and this table does not makes the tenant test fail: every new door is tried before
it opens.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.end_to_end.rawsocket import Frame, fresh_id
from tests.end_to_end.tenancy import text_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.tenancy import Ids


class Door(Enum):
    """Whose credential a route takes."""

    PUBLIC = "none"
    APP_SERVER = "server key"
    DESK = "agent token"
    LOGIN = "email and password"


class Space(Enum):
    """What an id of another tenant means to a route."""

    NO_ID = "it takes no id"
    SHARED = "ids are the server's: another tenant's must look as if it did not exist"
    OWN = "ids are the caller's own names: the same name in another app is another thing"


@dataclass(frozen=True)
class Route:
    """``path`` and ``body`` build a request that would work for the tenant who owns ``Ids``."""

    key: str
    door: Door
    space: Space
    path: Callable[[Ids], str]
    body: Callable[[Ids], Any] | None = None

    @property
    def method(self) -> str:
        return self.key.split(" ")[0]


def route_key(method: str, path: str) -> str:
    """``GET /v1/users/{}``: the names of path parameters are not part of the contract."""
    return f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}"


_versions = itertools.count(7)


def _ride(_: Ids) -> Frame:
    return {
        "version": next(_versions),
        "kind": "ride",
        "status": "stolen",
        "title": "not yours",
        "occurred_at": "2026-03-02T08:30:00Z",
    }


def _batch(ids: Ids) -> Frame:
    return {"transactions": [_ride(ids) | {"external_id": ids.user, "id": ids.transaction}]}


def _thread(suffix: str) -> Callable[[Ids], str]:
    return lambda ids: f"/admin/v1/conversations/{ids.conversation}{suffix}"


def _user(suffix: str) -> Callable[[Ids], str]:
    return lambda ids: f"/v1/users/{ids.user}{suffix}"


def _plain(path: str) -> Callable[[Ids], str]:
    return lambda _: path


def _webhook(suffix: str) -> Callable[[Ids], str]:
    return lambda ids: f"/v1/webhooks/{ids.webhook}{suffix}"


def _definition(suffix: str) -> Callable[[Ids], str]:
    return lambda ids: f"/v1/actions/{ids.definition}{suffix}"


def _action(suffix: str) -> Callable[[Ids], str]:
    return lambda ids: f"/admin/v1/actions/{ids.action}{suffix}"


def _offer(_: Ids) -> Frame:
    return {"name": f"refund-{next(_versions)}", "title": "Refund", "url": "https://localhost/mine"}


def _message(_: Ids) -> Frame:
    return {"id": fresh_id(), "body": text_body("hello from the wrong side")}


_TRANSACTION = "/v1/users/{}/transactions/{}"
_CONVERSATION = "/admin/v1/conversations/{}"

ROUTES = (
    Route("GET /openapi.json", Door.PUBLIC, Space.NO_ID, _plain("/openapi.json")),
    Route("GET /asyncapi.json", Door.PUBLIC, Space.NO_ID, _plain("/asyncapi.json")),
    Route("GET /livez", Door.PUBLIC, Space.NO_ID, _plain("/livez")),
    Route("GET /readyz", Door.PUBLIC, Space.NO_ID, _plain("/readyz")),
    Route("GET /metrics", Door.PUBLIC, Space.NO_ID, _plain("/metrics")),
    Route("PUT /v1/users/{}", Door.APP_SERVER, Space.OWN, _user(""), lambda _: {"name": "Mallory"}),
    Route("GET /v1/users/{}", Door.APP_SERVER, Space.SHARED, _user("")),
    Route(
        f"PUT {_TRANSACTION}",
        Door.APP_SERVER,
        Space.OWN,
        lambda ids: f"/v1/users/{ids.user}/transactions/{ids.transaction}",
        _ride,
    ),
    Route("DELETE /v1/users/{}", Door.APP_SERVER, Space.OWN, _user("")),
    Route("GET /v1/users/{}/export", Door.APP_SERVER, Space.SHARED, _user("/export")),
    Route("POST /v1/users/{}/messages", Door.APP_SERVER, Space.OWN, _user("/messages"), _message),
    Route("GET /v1/users/{}/transactions", Door.APP_SERVER, Space.SHARED, _user("/transactions")),
    Route("POST /v1/transactions:batch", Door.APP_SERVER, Space.OWN, _plain("/v1/transactions:batch"), _batch),
    Route("POST /v1/users/{}/tokens", Door.APP_SERVER, Space.OWN, _user("/tokens"), lambda _: {}),
    Route("DELETE /v1/users/{}/tokens", Door.APP_SERVER, Space.OWN, _user("/tokens")),
    Route(
        "POST /v1/webhooks",
        Door.APP_SERVER,
        Space.NO_ID,
        _plain("/v1/webhooks"),
        lambda _: {"url": "https://localhost/mine", "events": ["message.created"]},
    ),
    Route("GET /v1/webhooks", Door.APP_SERVER, Space.NO_ID, _plain("/v1/webhooks")),
    Route("GET /v1/webhooks/{}", Door.APP_SERVER, Space.SHARED, _webhook("")),
    Route("PATCH /v1/webhooks/{}", Door.APP_SERVER, Space.SHARED, _webhook(""), lambda _: {"enabled": False}),
    Route("POST /v1/webhooks/{}:rotate-secret", Door.APP_SERVER, Space.SHARED, _webhook(":rotate-secret")),
    Route("POST /v1/webhooks/{}:test", Door.APP_SERVER, Space.SHARED, _webhook(":test")),
    Route("GET /v1/webhooks/{}/deliveries", Door.APP_SERVER, Space.SHARED, _webhook("/deliveries")),
    Route(
        "POST /v1/webhooks/{}/deliveries/{}:replay",
        Door.APP_SERVER,
        Space.SHARED,
        lambda ids: f"/v1/webhooks/{ids.webhook}/deliveries/{ids.delivery}:replay",
    ),
    Route("DELETE /v1/webhooks/{}", Door.APP_SERVER, Space.SHARED, _webhook("")),
    Route("POST /v1/actions", Door.APP_SERVER, Space.NO_ID, _plain("/v1/actions"), _offer),
    Route("GET /v1/actions", Door.APP_SERVER, Space.NO_ID, _plain("/v1/actions")),
    Route("GET /v1/actions/{}", Door.APP_SERVER, Space.SHARED, _definition("")),
    Route("PATCH /v1/actions/{}", Door.APP_SERVER, Space.SHARED, _definition(""), lambda _: {"enabled": False}),
    Route("POST /v1/actions/{}:rotate-secret", Door.APP_SERVER, Space.SHARED, _definition(":rotate-secret")),
    Route("DELETE /v1/actions/{}", Door.APP_SERVER, Space.SHARED, _definition("")),
    Route(
        "POST /admin/v1/session",
        Door.LOGIN,
        Space.SHARED,
        _plain("/admin/v1/session"),
        lambda ids: {"email": ids.agent_email, "password": "correct horse battery staple"},
    ),
    Route("DELETE /admin/v1/session", Door.DESK, Space.NO_ID, _plain("/admin/v1/session")),
    Route("GET /admin/v1/me", Door.DESK, Space.NO_ID, _plain("/admin/v1/me")),
    Route(
        "GET /admin/v1/conversations",
        Door.DESK,
        Space.SHARED,
        lambda ids: f"/admin/v1/conversations?app={ids.app}&status=open",
    ),
    Route("GET /admin/v1/agents", Door.DESK, Space.SHARED, lambda ids: f"/admin/v1/agents?app={ids.app}"),
    Route(f"GET {_CONVERSATION}/deliveries", Door.DESK, Space.SHARED, _thread("/deliveries")),
    Route(f"POST {_CONVERSATION}/tags", Door.DESK, Space.SHARED, _thread("/tags"), lambda _: {"tags": ["stolen"]}),
    Route(f"GET {_CONVERSATION}", Door.DESK, Space.SHARED, _thread("")),
    Route(f"GET {_CONVERSATION}/events", Door.DESK, Space.SHARED, _thread("/events?after=0&limit=100")),
    Route(f"POST {_CONVERSATION}/messages", Door.DESK, Space.SHARED, _thread("/messages"), _message),
    Route(f"POST {_CONVERSATION}/notes", Door.DESK, Space.SHARED, _thread("/notes"), _message),
    Route(
        f"POST {_CONVERSATION}/status", Door.DESK, Space.SHARED, _thread("/status"), lambda _: {"status": "resolved"}
    ),
    Route(
        f"POST {_CONVERSATION}/assignment",
        Door.DESK,
        Space.SHARED,
        _thread("/assignment"),
        lambda ids: {"agent": ids.agent},
    ),
    Route(f"GET {_CONVERSATION}/actions", Door.DESK, Space.SHARED, _thread("/actions")),
    Route(
        f"POST {_CONVERSATION}/actions",
        Door.DESK,
        Space.SHARED,
        _thread("/actions"),
        lambda ids: {"action": "refund-0", "transaction": ids.transaction, "parameters": {}},
    ),
    Route(
        "GET /admin/v1/action-definitions",
        Door.DESK,
        Space.SHARED,
        lambda ids: f"/admin/v1/action-definitions?app={ids.app}",
    ),
    Route("GET /admin/v1/actions", Door.DESK, Space.SHARED, lambda ids: f"/admin/v1/actions?app={ids.app}"),
    Route("GET /admin/v1/actions/{}", Door.DESK, Space.SHARED, _action("")),
    Route("POST /admin/v1/actions/{}:approve", Door.DESK, Space.SHARED, _action(":approve"), lambda _: {}),
    Route("POST /admin/v1/actions/{}:reject", Door.DESK, Space.SHARED, _action(":reject")),
    Route("POST /admin/v1/actions/{}:retry", Door.DESK, Space.SHARED, _action(":retry")),
    Route(f"POST {_CONVERSATION}/read", Door.DESK, Space.SHARED, _thread("/read"), lambda _: {"seq": 1}),
)
MATRIX = {route.key: route for route in ROUTES}
