"""From a request to an operation's handler and back: who, how often, with what; then the answer or the refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from admin_api.auth import bearer_of, check_csrf, session_of
from admin_api.bodies import check_media_type, decode, read_body
from admin_api.envelope import REQUEST_ID
from admin_api.errors import MethodNotAllowed, problem_response
from admin_api.operations import Answer, Call, Door, Operation
from admin_api.parameters import idempotency_key_of, path_of, query_of
from server.domain.errors import DomainError, NotFound, Unauthorized
from server.domain.ids import secret_hash
from server.telemetry import log_context

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Receive, Scope, Send

    from admin_api.doors import ApiDoors, ApiRates
    from server.domain.agents import Agent
    from server.storage.apps import App

_encode = msgspec.json.Encoder().encode


class Endpoint:
    """ASGI application of one path."""

    def __init__(self, doors: ApiDoors, rates: ApiRates, operations: Iterable[Operation]) -> None:
        self._doors = doors
        self._rates = rates
        self._by_method: dict[str, Operation] = {operation.method: operation for operation in operations}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = _response(await self._answer(request))
        except DomainError as refusal:
            self._doors.metrics.errors.labels(refusal.code).inc()
            response = problem_response(refusal, scope.get(REQUEST_ID))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Answer:
        method = "GET" if request.method == "HEAD" else request.method
        operation = self._by_method.get(method)
        if operation is None:
            raise method_not_allowed(request.method, list(self._by_method))
        caller, session = await self._caller(request, operation.door)
        path = path_of(request.path_params, operation.parameters)
        query = query_of(request.scope.get("query_string", b""), operation.query)
        call: Call[Any, Any, Any] = Call(
            doors=self._doors,
            rates=self._rates,
            request=request,
            caller=caller,
            session=session,
            path=path,
            query=query,
            body=await self._body(request, operation),
            idempotency_key=idempotency_key_of(request.headers.getlist("idempotency-key")),
        )
        ids = {name: str(getattr(path, name)) for name in path.__struct_fields__ if name == "conversation"}
        with log_context(**ids):
            return await operation.handler(call)

    async def _caller(self, request: Request, door: Door) -> tuple[App | Agent | None, str | None]:
        if door is Door.PUBLIC:
            return None, None
        services = self._doors.services
        secret = bearer_of(request.headers.getlist("authorization"))
        if door is Door.APP_SERVER:
            if secret is None:
                raise Unauthorized("This needs a server key: `Authorization: Bearer dbs_…`.")
            app = await services.apps.by_server_key(secret)
            self._rates.server_key.take(secret_hash(secret).hex())
            return app, None
        session = None
        if secret is not None:
            agent = await services.agents.by_token(secret)
        else:
            session = session_of(request.headers.getlist("cookie"))
            if session is None:
                raise Unauthorized(
                    "This needs an agent's token (`Authorization: Bearer dba_…`) or a console session's cookie."
                )
            agent = await services.agents.by_session(session)
            check_csrf(request.method, session, request.headers.items())
        self._rates.agent.take(str(agent.agent_id))
        return agent, session

    async def _body(self, request: Request, operation: Operation) -> msgspec.Struct | None:
        if operation.body is None:
            return None
        limits = self._doors.config.limits
        content_type = request.headers.get("content-type")
        if not operation.body_optional:
            check_media_type(content_type)
        raw = await read_body(request, limits.batch_bytes if operation.largest == "batch" else limits.body_bytes)
        if operation.body_optional and not raw:
            return None
        check_media_type(content_type)
        return decode(raw, operation.body)


def routes_of(doors: ApiDoors, rates: ApiRates, operations: Iterable[Operation]) -> list[Route]:
    """One route a path; its methods are told apart inside, so that `Allow` names all of them."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    return [Route(path, Endpoint(doors, rates, given)) for path, given in by_path.items()]


def method_not_allowed(method: str, allowed: list[str]) -> MethodNotAllowed:
    if "GET" in allowed and "HEAD" not in allowed:
        allowed = [*allowed, "HEAD"]
    names = ", ".join(allowed)
    return MethodNotAllowed(f"{method[:20]} is not offered here; use {names}.", allowed)


async def not_routed(request: Request, error: Exception) -> Response:
    """Starlette's own refusals, in our form."""
    assert isinstance(error, HTTPException)
    refusal: DomainError = NotFound(f"There is nothing at {request.url.path[:200]}.")
    if error.status_code == 405:
        refusal = method_not_allowed(request.method, sorted((error.headers or {}).get("Allow", "").split(", ")))
    return problem_response(refusal, request.scope.get(REQUEST_ID))


def _response(answer: Answer) -> Response:
    content = answer.content
    if content is None:
        return Response(status_code=answer.status, headers={"Cache-Control": "no-store"} | answer.headers)
    return Response(
        content if isinstance(content, bytes) else _encode(content),
        status_code=answer.status,
        headers={"Cache-Control": "no-store"} | answer.headers,
        media_type=answer.media_type,
    )
