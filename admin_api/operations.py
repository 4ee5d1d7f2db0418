"""What a route is: one entry of the table from which both the Starlette routes and `openapi.json` are built."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from admin_api.parameters import Nothing

if TYPE_CHECKING:
    from starlette.requests import Request

    from admin_api.bodies import Body
    from admin_api.doors import ApiDoors, ApiRates
    from server.domain.agents import Agent
    from server.storage.apps import App

P = TypeVar("P", bound=msgspec.Struct)
Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B")


class Door(Enum):
    """Whose credential a route takes."""

    PUBLIC = "nobody's"
    APP_SERVER = "a server key"
    AGENT = "an agent's token or console session"


class Call(Generic[P, Q, B]):
    """One request, checked: path, query and body have their shapes, and the caller is who it says."""

    __slots__ = ("_caller", "body", "doors", "idempotency_key", "path", "query", "rates", "request", "session")

    def __init__(
        self,
        *,
        doors: ApiDoors,
        rates: ApiRates,
        request: Request,
        caller: App | Agent | None,
        session: str | None,
        path: P,
        query: Q,
        body: B,
        idempotency_key: str | None,
    ) -> None:
        self.doors = doors
        self.rates = rates
        self.request = request
        self.session = session
        """The secret of the console session, when the agent came with its cookie."""
        self.path = path
        self.query = query
        self.body = body
        self.idempotency_key = idempotency_key
        self._caller = caller

    @property
    def app(self) -> App:
        """The app whose server calls; only behind `Door.APP_SERVER`."""
        caller: Any = self._caller
        app: App = caller
        return app

    @property
    def agent(self) -> Agent:
        """The agent who calls; only behind `Door.AGENT`."""
        caller: Any = self._caller
        agent: Agent = caller
        return agent


@dataclass(frozen=True)
class Answer:
    """`content`: a Struct or JSON-like value, bytes as they are, or None for an empty answer."""

    status: int
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


@dataclass(frozen=True)
class Answered:
    """What the document says of one status. `shape` None: no body."""

    description: str
    shape: Any = None
    example: Any = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()


Handler = Callable[[Call[Any, Any, Any]], Awaitable[Answer]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path. `errors`: statuses beside those that follow from the rest (`openapi.errors_of`)."""

    method: Literal["GET", "PUT", "POST", "PATCH", "DELETE"]
    path: str
    id: str
    summary: str
    tag: str
    door: Door
    handler: Handler
    answers: dict[int, Answered]
    description: str = ""
    parameters: type[msgspec.Struct] = Nothing
    query: type[msgspec.Struct] = Nothing
    body: type[Body] | None = None
    body_optional: bool = False
    body_example: Any = None
    largest: Literal["body", "batch"] = "body"
    creates: bool = False
    errors: tuple[int, ...] = ()
