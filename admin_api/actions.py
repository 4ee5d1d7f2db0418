"""`/admin/v1`, actions: press one in a conversation, approve or reject it, see what became of it (docs/actions.md)."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from admin_api.action_records import Action, ActionOfferPage, ActionPage, StateName, action_record, offer_record
from admin_api.bodies import Body
from admin_api.clientids import REPLAYED
from admin_api.conversations import ConversationPath
from admin_api.cursors import from_id_cursor, id_cursor
from admin_api.examples import ACTION, ACTION_OFFER, page
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import Nothing, Paging, Parameters
from server.domain.action import ActionName
from server.domain.transaction import TransactionId, Version
from server.storage.actions import Listed


class ActionPath(Parameters, kw_only=True, frozen=True):
    id: UUID


class ActionQuery(Paging, kw_only=True, frozen=True):
    app: Annotated[UUID, msgspec.Meta(description="One app; all of the agent's if left out.")] | None = None
    state: StateName | None = None


class OfferQuery(Paging, kw_only=True, frozen=True):
    app: UUID


class Press(Body, kw_only=True, frozen=True):
    """`action`: its name. `transaction`: the app's own id of it, where the action is for one. `version`: of the
    transaction, as the agent has seen it; if it is another one by now the answer is 409 `conflict`."""

    action: ActionName
    transaction: TransactionId | None = None
    parameters: dict[str, Any] | UnsetType = UNSET
    version: Version | None = None


class Approval(Body, kw_only=True, frozen=True):
    """`version`: of the transaction. Needed only if it has changed since the action was pressed; then the action is for
    this version."""

    version: Version | None = None


async def press(call: Call[ConversationPath, Nothing, Press]) -> Answer:
    call.rates.actions.take(str(call.agent.agent_id))
    wish = call.body
    pressed = await call.doors.services.actions.press(
        call.agent,
        call.path.conversation,
        wish.action,
        parameters=wish.parameters if wish.parameters is not UNSET else {},
        transaction=wish.transaction,
        version=wish.version,
        key=call.idempotency_key,
    )
    return Answer(201, action_record(pressed.listed), REPLAYED if pressed.repeated else {})


async def approve(call: Call[ActionPath, Nothing, Approval | None]) -> Answer:
    call.rates.actions.take(str(call.agent.agent_id))
    version = call.body.version if call.body is not None else None
    return Answer(200, action_record(await call.doors.services.actions.approve(call.agent, call.path.id, version)))


async def reject(call: Call[ActionPath, Nothing, None]) -> Answer:
    call.rates.actions.take(str(call.agent.agent_id))
    return Answer(200, action_record(await call.doors.services.actions.reject(call.agent, call.path.id)))


async def retry(call: Call[ActionPath, Nothing, None]) -> Answer:
    call.rates.actions.take(str(call.agent.agent_id))
    return Answer(200, action_record(await call.doors.services.actions.retry(call.agent, call.path.id)))


async def get_action(call: Call[ActionPath, Nothing, None]) -> Answer:
    return Answer(200, action_record(await call.doors.services.actions.find(call.agent, call.path.id)))


async def list_actions(call: Call[Nothing, ActionQuery, None]) -> Answer:
    query = call.query
    found = await call.doors.services.actions.list_actions(
        call.agent, query.app, query.state, from_id_cursor(query.cursor), query.limit + 1
    )
    return Answer(200, _page(found, query.limit))


async def list_of_conversation(call: Call[ConversationPath, Paging, None]) -> Answer:
    query = call.query
    found = await call.doors.services.actions.list_of_conversation(
        call.agent, call.path.conversation, from_id_cursor(query.cursor), query.limit + 1
    )
    return Answer(200, _page(found, query.limit))


async def list_offers(call: Call[Nothing, OfferQuery, None]) -> Answer:
    query, limit = call.query, call.query.limit
    found = await call.doors.services.actions.list_definitions(
        call.agent, query.app, from_id_cursor(query.cursor), limit + 1
    )
    shown = found[:limit]
    next_cursor = id_cursor(shown[-1].definition_id) if len(found) > limit else None
    return Answer(200, ActionOfferPage(items=[offer_record(each) for each in shown], next_cursor=next_cursor))


def _page(found: Sequence[Listed], limit: int) -> ActionPage:
    shown = found[:limit]
    next_cursor = id_cursor(shown[-1].action.listed_as) if len(found) > limit else None
    return ActionPage(items=[action_record(each) for each in shown], next_cursor=next_cursor)


def _operation(method: Any, path: str, handler: Callable[[Any], Any], **rest: Any) -> Operation:
    return Operation(method=method, path="/admin/v1" + path, tag="actions", door=Door.AGENT, handler=handler, **rest)


_NOW = {200: Answered("The action as it is now.", Action, ACTION)}

# Verbs first: a path that ends in one also looks like an id.
OPERATIONS = (
    _operation(
        "POST",
        "/conversations/{conversation}/actions",
        press,
        id="press_action",
        summary="Do something for the customer at the app's server",
        description="`pending` is being asked for, `awaiting_approval` waits for somebody else. What becomes of it is "
        "an `action.updated` event of the thread. While an earlier one for the same transaction is not settled: 409 "
        "`conflict`. Send an `Idempotency-Key`, so that a double press is one.",
        parameters=ConversationPath,
        body=Press,
        body_example={
            "action": "refund",
            "transaction": "ride-17",
            "parameters": {"amount": "5.00", "reason": "late"},
            "version": 3,
        },
        creates=True,
        answers={201: Answered("The action, now or before.", Action, ACTION, headers=("Idempotent-Replayed",))},
        errors=(409,),
    ),
    _operation(
        "GET",
        "/conversations/{conversation}/actions",
        list_of_conversation,
        id="list_conversation_actions",
        summary="What was pressed in a conversation",
        description="Newest first.",
        parameters=ConversationPath,
        query=Paging,
        answers={200: Answered("A page of them.", ActionPage, page(ACTION))},
    ),
    _operation(
        "GET",
        "/action-definitions",
        list_offers,
        id="list_offered_actions",
        summary="What agents of an app may press",
        query=OfferQuery,
        answers={200: Answered("A page of them.", ActionOfferPage, page(ACTION_OFFER))},
        errors=(404,),
    ),
    _operation(
        "POST",
        "/actions/{id}:approve",
        approve,
        id="approve_action",
        summary="Agree to an action",
        description="Not by who pressed it; one over its limit only by a supervisor. If its transaction has changed "
        "since: 409 `conflict`, unless `version` names the new version.",
        parameters=ActionPath,
        body=Approval,
        body_optional=True,
        body_example={"version": 4},
        answers=_NOW,
        errors=(403, 409),
    ),
    _operation(
        "POST",
        "/actions/{id}:reject",
        reject,
        id="reject_action",
        summary="Do not agree to an action, or take it back",
        parameters=ActionPath,
        answers=_NOW,
        errors=(403, 409),
    ),
    _operation(
        "POST",
        "/actions/{id}:retry",
        retry,
        id="retry_action",
        summary="Ask the app's server again, now",
        description="With the same key, for an action that is `pending` or `unknown`, and for three more days.",
        parameters=ActionPath,
        answers=_NOW,
        errors=(409,),
    ),
    _operation(
        "GET",
        "/actions/{id}",
        get_action,
        id="get_action",
        summary="What became of an action",
        parameters=ActionPath,
        answers=_NOW,
    ),
    _operation(
        "GET",
        "/actions",
        list_actions,
        id="list_actions",
        summary="What waits for approval, is not known, …",
        description="Newest first.",
        query=ActionQuery,
        answers={200: Answered("A page of them.", ActionPage, page(ACTION))},
        errors=(404,),
    ),
)
