"""The shapes of answers about actions, and how they are made from the domain's (docs/actions.md)."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Raw

from admin_api.records import Amount, Count, Record, Time
from admin_api.translate import time_text
from server.domain.action import Approval, Approver, Definition, OverLimit
from server.services.action_definitions import MadeDefinition
from server.storage.actions import Listed

StateName = Literal["awaiting_approval", "pending", "unknown", "done", "failed", "rejected"]


class ActionOffer(Record, kw_only=True, frozen=True):
    """What an agent may press. `kinds`: of transactions it is for; empty: any, or none at all. `parameters`: a JSON
    Schema to make a form of."""

    id: UUID
    name: str
    title: str
    kinds: list[str]
    parameters: dict[str, Any]
    amount_limit: Amount | None
    over_limit: OverLimit
    approval: Approval
    allow_parallel: bool
    enabled: bool


class ActionDefinition(ActionOffer, kw_only=True, frozen=True):
    """What the app lets its agents do, as its developer sees it."""

    url: str
    created_at: Time
    updated_at: Time


class ActionDefinitionWithSecret(ActionDefinition, kw_only=True, frozen=True):
    """`secret`: what calls are signed with, shown this once."""

    secret: str


class Who(Record, kw_only=True, frozen=True):
    """An agent. `name` is null for one who is gone."""

    id: UUID
    name: str | None


class Action(Record, kw_only=True, frozen=True):
    """One press, as the desk sees it. `id` is the key with which the app's server is asked.

    `transaction` is the version that was decided on. `approver`: who must agree, null for nobody. `decided_by`: who has
    approved or rejected it. `error`: why it is not settled yet; `message`: the app's sentence for the customer.
    `next_attempt_at`: null if it is settled, waits for approval, is being asked, or was asked for three days in vain.
    """

    id: UUID
    action: str
    title: str
    app: UUID
    conversation: UUID
    transaction: Raw | None
    parameters: Raw
    state: StateName
    approver: Approver | None
    requested_by: Who
    requested_at: Time
    decided_by: Who | None
    decided_at: Time | None
    attempts: Count
    next_attempt_at: Time | None
    status: int | None
    error: str | None
    message: str | None
    updated_at: Time


class ActionOfferPage(Record, kw_only=True, frozen=True):
    items: list[ActionOffer]
    next_cursor: str | None


class ActionDefinitionPage(Record, kw_only=True, frozen=True):
    items: list[ActionDefinition]
    next_cursor: str | None


class ActionPage(Record, kw_only=True, frozen=True):
    items: list[Action]
    next_cursor: str | None


def offer_record(definition: Definition) -> ActionOffer:
    return ActionOffer(**_offer(definition))


def definition_record(definition: Definition) -> ActionDefinition:
    return ActionDefinition(**_defined(definition))


def definition_with_secret(made: MadeDefinition) -> ActionDefinitionWithSecret:
    return ActionDefinitionWithSecret(**_defined(made.definition), secret=made.secret)


def action_record(listed: Listed) -> Action:
    action = listed.action
    state: Any = action.state.value
    return Action(
        id=action.action_id,
        action=action.name,
        title=action.title,
        app=action.app_id,
        conversation=action.conversation_id,
        transaction=Raw(action.transaction) if action.transaction is not None else None,
        parameters=Raw(action.parameters),
        state=state,
        approver=action.approver,
        requested_by=Who(id=action.requested_by, name=listed.requested_name),
        requested_at=time_text(action.requested_at),
        decided_by=Who(id=action.decided_by, name=listed.decided_name) if action.decided_by is not None else None,
        decided_at=_time(action.decided_at),
        attempts=action.attempts,
        next_attempt_at=_time(action.due_at) if action.claim is None else None,
        status=action.status,
        error=action.error,
        message=action.message,
        updated_at=time_text(action.updated_at),
    )


def _offer(definition: Definition) -> dict[str, Any]:
    plain = set(ActionOffer.__struct_fields__) - {"id", "amount_limit"}
    named = {name: getattr(definition, name) for name in plain}
    limit = definition.amount_limit
    amount = Amount(value=limit.value, currency=limit.currency) if limit is not None else None
    return named | {"id": definition.definition_id, "amount_limit": amount}


def _defined(definition: Definition) -> dict[str, Any]:
    return _offer(definition) | {
        "url": definition.url,
        "created_at": time_text(definition.created_at),
        "updated_at": time_text(definition.updated_at),
    }


def _time(at: datetime | None) -> str | None:
    return time_text(at) if at is not None else None
