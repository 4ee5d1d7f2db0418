"""`/v1/actions`: what an app lets its agents do for a customer (docs/actions.md)."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from admin_api.action_records import (
    ActionDefinition,
    ActionDefinitionPage,
    ActionDefinitionWithSecret,
    definition_record,
    definition_with_secret,
)
from admin_api.bodies import Body
from admin_api.clientids import REPLAYED
from admin_api.cursors import from_id_cursor, id_cursor
from admin_api.examples import ACTION_DEFINITION, page
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import Nothing, Paging, Parameters
from admin_api.webhooks import Url
from server.domain.action import ActionName, Approval, OverLimit
from server.domain.transaction import Amount
from server.services.action_definitions import Change, Wanted

Title = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=100, pattern=r"\S", description="Shown in the thread, to the customer, too."),
]
Kinds = Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=100)]], msgspec.Meta(max_length=20)]


class DefinitionPath(Parameters, kw_only=True, frozen=True):
    id: UUID


class NewAction(Body, kw_only=True, frozen=True):
    """`kinds`: of transactions it is for; none: any, or no transaction at all. `parameters`: a JSON Schema of an
    object, of the keywords that docs/actions.md lists. Above `amount_limit` a press is refused, or with `over_limit`
    `approve` waits for a supervisor. `allow_parallel`: it may be pressed again before an earlier one for the same
    transaction is settled."""

    name: ActionName
    title: Title
    url: Url
    kinds: Kinds | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    amount_limit: Amount | None = None
    over_limit: OverLimit = "refuse"
    approval: Approval = "none"
    allow_parallel: bool = False
    enabled: bool = True


class ActionWish(Body, kw_only=True, frozen=True):
    """What is left out stays. The name is for good."""

    title: Title | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    kinds: Kinds | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    amount_limit: Amount | None | UnsetType = UNSET
    over_limit: OverLimit | UnsetType = UNSET
    approval: Approval | UnsetType = UNSET
    allow_parallel: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


async def create(call: Call[Nothing, Nothing, NewAction]) -> Answer:
    call.rates.actions.take(str(call.app.app_id))
    given = {name: value for name, value in msgspec.structs.asdict(call.body).items() if value is not UNSET}
    definitions = call.doors.services.action_definitions
    made = await definitions.create(call.app.app_id, Wanted(**given), call.idempotency_key)
    return Answer(201, definition_with_secret(made), REPLAYED if made.repeated else {})


async def list_definitions(call: Call[Nothing, Paging, None]) -> Answer:
    limit = call.query.limit
    found = await call.doors.services.action_definitions.list_definitions(
        call.app.app_id, from_id_cursor(call.query.cursor), limit + 1
    )
    shown = found[:limit]
    next_cursor = id_cursor(shown[-1].definition_id) if len(found) > limit else None
    return Answer(200, ActionDefinitionPage(items=[definition_record(each) for each in shown], next_cursor=next_cursor))


async def get_definition(call: Call[DefinitionPath, Nothing, None]) -> Answer:
    found = await call.doors.services.action_definitions.find(call.app.app_id, call.path.id)
    return Answer(200, definition_record(found))


async def change(call: Call[DefinitionPath, Nothing, ActionWish]) -> Answer:
    call.rates.actions.take(str(call.app.app_id))
    wish = Change(**msgspec.structs.asdict(call.body))
    changed = await call.doors.services.action_definitions.change(call.app.app_id, call.path.id, wish)
    return Answer(200, definition_record(changed))


async def delete(call: Call[DefinitionPath, Nothing, None]) -> Answer:
    call.rates.actions.take(str(call.app.app_id))
    await call.doors.services.action_definitions.delete(call.app.app_id, call.path.id)
    return Answer(204)


async def rotate(call: Call[DefinitionPath, Nothing, None]) -> Answer:
    call.rates.actions.take(str(call.app.app_id))
    made = await call.doors.services.action_definitions.rotate_secret(call.app.app_id, call.path.id)
    return Answer(200, definition_with_secret(made))


def _operation(method: Any, suffix: str, handler: Callable[[Any], Any], **rest: Any) -> Operation:
    return Operation(
        method=method,
        path="/v1/actions" + suffix,
        tag="actions",
        door=Door.APP_SERVER,
        handler=handler,
        **rest,
    )


_WITH_SECRET = ACTION_DEFINITION | {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="}
_WISH = {name: ACTION_DEFINITION[name] for name in ("name", "title", "url", "kinds", "parameters", "amount_limit")}

# The verb first: a path that ends in one also looks like an id.
OPERATIONS = (
    _operation(
        "POST",
        "/{id}:rotate-secret",
        rotate,
        id="rotate_action_secret",
        summary="Replace the signing secret",
        description="The secret before goes on signing beside the new one for 24 hours.",
        parameters=DefinitionPath,
        answers={
            200: Answered("The action with its new secret, shown this once.", ActionDefinitionWithSecret, _WITH_SECRET)
        },
    ),
    _operation(
        "POST",
        "",
        create,
        id="create_action",
        summary="Let agents do something",
        description="At most 50 an app. The calls are described in docs/actions.md.",
        body=NewAction,
        body_example=_WISH,
        creates=True,
        answers={
            201: Answered(
                "The action with its signing secret, shown this once.",
                ActionDefinitionWithSecret,
                _WITH_SECRET,
                headers=("Idempotent-Replayed",),
            )
        },
        errors=(409,),
    ),
    _operation(
        "GET",
        "",
        list_definitions,
        id="list_action_definitions",
        summary="List what agents may do",
        query=Paging,
        answers={200: Answered("A page of them.", ActionDefinitionPage, page(ACTION_DEFINITION))},
    ),
    _operation(
        "GET",
        "/{id}",
        get_definition,
        id="get_action_definition",
        summary="Read an action's definition",
        parameters=DefinitionPath,
        answers={200: Answered("The definition.", ActionDefinition, ACTION_DEFINITION)},
    ),
    _operation(
        "PATCH",
        "/{id}",
        change,
        id="change_action",
        summary="Change an action, or switch it off and on",
        description="For presses from now on. What was pressed before is asked for at the new `url`, too.",
        parameters=DefinitionPath,
        body=ActionWish,
        body_example={"enabled": False},
        answers={200: Answered("The definition as it is now.", ActionDefinition, ACTION_DEFINITION)},
    ),
    _operation(
        "DELETE",
        "/{id}",
        delete,
        id="delete_action",
        summary="Remove an action",
        description="Nobody can press it any more. What was pressed before is asked for until it is settled.",
        parameters=DefinitionPath,
        answers={204: Answered("It is gone.")},
    ),
)
