"""`/admin/v1/session` and `/admin/v1/me`: an agent logs in to the console, and who that is."""

from typing import Annotated

import msgspec

from admin_api.auth import csrf_token_of, same_origin, set_cookie
from admin_api.bodies import Body
from admin_api.examples import ME
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import Nothing
from admin_api.records import Me
from admin_api.translate import me_record
from server.domain.errors import Forbidden
from server.services.agents import SESSION_LIFETIME


class LogIn(Body, kw_only=True, frozen=True):
    email: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


async def log_in(call: Call[Nothing, Nothing, LogIn]) -> Answer:
    if not same_origin(call.request.headers.items()):
        raise Forbidden("This request comes from a page of another origin.", field="Origin")
    agents = call.doors.services.agents
    _, session = await agents.log_in(call.body.email, call.body.password)
    agent = await agents.by_session(session)
    cookie = _cookie(call, session, int(SESSION_LIFETIME.total_seconds()))
    return Answer(200, me_record(agent, csrf_token_of(session)), {"Set-Cookie": cookie})


async def log_out(call: Call[Nothing, Nothing, None]) -> Answer:
    """An API token has no session to end; asking is harmless."""
    if call.session is None:
        return Answer(204)
    await call.doors.services.agents.log_out(call.session)
    return Answer(204, None, {"Set-Cookie": _cookie(call, "", 0)})


async def me(call: Call[Nothing, Nothing, None]) -> Answer:
    return Answer(200, me_record(call.agent, csrf_token_of(call.session) if call.session is not None else None))


def _cookie(call: Call[Nothing, Nothing, LogIn] | Call[Nothing, Nothing, None], session: str, lifetime_s: int) -> str:
    request = call.request
    return set_cookie(session, lifetime_s, scheme=request.url.scheme, host=request.headers.get("host", ""))


OPERATIONS = (
    Operation(
        method="POST",
        path="/admin/v1/session",
        id="log_in",
        summary="Log in to the console",
        description="Sets the cookie `deskbell_session`. Unsafe requests with it need the header `X-CSRF-Token`.",
        tag="sessions",
        door=Door.PUBLIC,
        handler=log_in,
        body=LogIn,
        body_example={"email": "noor@example.org", "password": "correct horse battery staple"},
        answers={200: Answered("Who has logged in.", Me, ME, headers=("Set-Cookie",))},
        errors=(401, 403, 429),
    ),
    Operation(
        method="DELETE",
        path="/admin/v1/session",
        id="log_out",
        summary="Log out of the console",
        tag="sessions",
        door=Door.AGENT,
        handler=log_out,
        answers={204: Answered("The session is over.", headers=("Set-Cookie",))},
    ),
    Operation(
        method="GET",
        path="/admin/v1/me",
        id="me",
        summary="Who am I?",
        tag="sessions",
        door=Door.AGENT,
        handler=me,
        answers={200: Answered("The agent, its apps, and the CSRF token of its session.", Me, ME)},
    ),
)
