"""`/v1/users`: what the app's server says of its users, and what it may ask of us about them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from admin_api.bodies import Body
from admin_api.examples import EXPORT, TOKEN, USER
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import ExternalId, Nothing, Parameters
from admin_api.records import Export, Issued, User
from admin_api.translate import exported_event, time_text, transaction_record, user_record
from server.domain.people import check_external_id
from server.services.people import Facts

Line = Annotated[str, msgspec.Meta(max_length=200)]
DEFAULT_LIFETIME_S = 3600


class UserPath(Parameters, kw_only=True, frozen=True):
    external_id: ExternalId


class UserFacts(Body, kw_only=True, frozen=True):
    """What is left out stays as it is; null removes. `properties` are merged, a null in them removes one."""

    name: Line | None | UnsetType = UNSET
    email: Annotated[str, msgspec.Meta(max_length=254)] | None | UnsetType = UNSET
    phone: Annotated[str, msgspec.Meta(max_length=40)] | None | UnsetType = UNSET
    locale: Annotated[str, msgspec.Meta(max_length=35)] | None | UnsetType = UNSET
    properties: dict[str, Any] | UnsetType = UNSET


class TokenWish(Body, kw_only=True, frozen=True):
    lifetime_s: Annotated[int, msgspec.Meta(ge=1, le=86400, description="Seconds.")] = DEFAULT_LIFETIME_S


async def put_user(call: Call[UserPath, Nothing, UserFacts]) -> Answer:
    facts = call.body
    user = await call.doors.services.people.put(
        call.app.app_id,
        call.path.external_id,
        Facts(
            name=facts.name,
            email=facts.email,
            phone=facts.phone,
            locale=facts.locale,
            properties=facts.properties,
        ),
    )
    return Answer(200, user_record(user))


async def get_user(call: Call[UserPath, Nothing, None]) -> Answer:
    return Answer(200, user_record(await call.doors.services.people.find(call.app.app_id, call.path.external_id)))


async def delete_user(call: Call[UserPath, Nothing, None]) -> Answer:
    await call.doors.services.people.erase(call.app.app_id, call.path.external_id)
    return Answer(204)


async def export_user(call: Call[UserPath, Nothing, None]) -> Answer:
    export = await call.doors.services.people.export(call.app.app_id, call.path.external_id)
    return Answer(
        200,
        Export(
            user=user_record(export.user),
            transactions=[transaction_record(each) for each in export.transactions],
            events=[exported_event(each) for each in export.events],
            exported_at=time_text(export.exported_at),
        ),
    )


async def issue_token(call: Call[UserPath, Nothing, TokenWish | None]) -> Answer:
    external_id = check_external_id(call.path.external_id)
    call.rates.user.take(f"{call.app.app_id}:{external_id}")
    lifetime = timedelta(seconds=call.body.lifetime_s if call.body else DEFAULT_LIFETIME_S)
    token, expires_at = await call.doors.services.identity.issue(call.app.app_id, external_id, lifetime)
    return Answer(200, Issued(token=token, expires_at=time_text(expires_at)))


async def revoke_tokens(call: Call[UserPath, Nothing, None]) -> Answer:
    await call.doors.services.people.revoke_tokens(call.app.app_id, call.path.external_id)
    return Answer(204)


def _operation(method: Any, suffix: str, handler: Callable[[Any], Any], **rest: Any) -> Operation:
    return Operation(
        method=method,
        path="/v1/users/{external_id}" + suffix,
        tag="users",
        door=Door.APP_SERVER,
        parameters=UserPath,
        handler=handler,
        **rest,
    )


OPERATIONS = (
    _operation(
        "PUT",
        "",
        put_user,
        id="put_user",
        summary="Make a user or change one",
        description="Fields left out stay as they are, null removes. Properties are merged.",
        body=UserFacts,
        body_example={"name": "Blanca Box", "email": "blanca@example.org", "properties": {"tier": "gold"}},
        answers={200: Answered("The user as it is now.", User, USER)},
    ),
    _operation(
        "GET",
        "",
        get_user,
        id="get_user",
        summary="Read a user",
        answers={200: Answered("The user.", User, USER)},
    ),
    _operation(
        "DELETE",
        "",
        delete_user,
        id="erase_user",
        summary="Erase everything of a user",
        description="Conversations, transactions, snapshots, devices and push tokens, in one transaction. Its sockets "
        "close. There is no way back.",
        answers={204: Answered("Nothing of the user is left.")},
    ),
    _operation(
        "GET",
        "/export",
        export_user,
        id="export_user",
        summary="Export everything of a user",
        answers={200: Answered("What is known of the user, and the log as the user sees it.", Export, EXPORT)},
    ),
    _operation(
        "POST",
        "/tokens",
        issue_token,
        id="issue_user_token",
        summary="Issue a user token",
        description="For servers without a JWT library: signed with the app's newest HS256 key. The user need not be "
        "known yet.",
        body=TokenWish,
        body_optional=True,
        body_example={"lifetime_s": 3600},
        answers={200: Answered("The token, for the `hello` of the user's device.", Issued, TOKEN)},
    ),
    _operation(
        "DELETE",
        "/tokens",
        revoke_tokens,
        id="revoke_user_tokens",
        summary="Revoke a user's tokens",
        description="Every token issued to the user before now is void, its open sockets close (4401). New ones may be "
        "issued at once. Tokens carry whole seconds: one issued in the very second of the call stays good.",
        answers={204: Answered("They are void.")},
    ),
)
