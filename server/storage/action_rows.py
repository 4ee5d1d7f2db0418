"""Rows of `action` inside a batch: read under the lock of their user, and written with the events they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.domain.action import Action, Cause, State
from server.domain.intents import MoveAction, PressAction
from server.storage.written import columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from asyncpg import Record

    from server.domain.numbering import Ledger
    from server.storage.database import Session

_COLUMNS = (
    "app_id",
    "user_id",
    "action_id",
    "conversation_id",
    "listed_as",
    "definition_id",
    "name",
    "title",
    "transaction_id",
    "transaction",
    "parameters",
    "state",
    "approver",
    "requested_by",
    "requested_at",
    "decided_by",
    "decided_at",
    "made_as",
    "attempts",
    "since",
    "due_at",
    "claim",
    "status",
    "error",
    "message",
    "updated_at",
)
"""In the order of `put_action`."""


def action_of(row: Record) -> Action:
    """From the columns of `action`."""
    named = {name: row[name] for name in Action.__struct_fields__ if name != "state"}
    return Action(**named, state=State(row["state"]))


async def load(
    session: Session, intents: Sequence[PressAction | MoveAction], ledgers: dict[tuple[UUID, UUID], Ledger]
) -> list[tuple[UUID, UUID, str]]:
    """Put what they need to know into the ledgers. Returns the transactions they ask for."""
    wanted: list[tuple[UUID, UUID, UUID]] = []
    pressed: list[tuple[UUID, UUID, UUID]] = []
    about: list[tuple[UUID, UUID, str]] = []
    approved: set[UUID] = set()
    for intent in intents:
        if isinstance(intent, PressAction):
            action = intent.action
            wanted.append((intent.app_id, intent.user_id, action.action_id))
            pressed.append((intent.app_id, intent.user_id, action.definition_id))
            if action.transaction_id is not None:
                about.append((intent.app_id, intent.user_id, action.transaction_id))
        else:
            wanted.append((intent.app_id, intent.user_id, intent.action_id))
            if intent.cause is Cause.APPROVE:
                approved.add(intent.action_id)
    rows = await session.rows("load_actions", *columns(wanted, 3))
    if pressed:
        rows += await session.rows("load_open_actions", *columns(pressed, 3))
    for row in rows:
        ledger = ledgers.get((row["app_id"], row["user_id"]))
        if ledger is not None:
            ledger.actions[row["action_id"]] = action_of(row)
            if row["action_id"] in approved and row["transaction_id"] is not None:
                about.append((row["app_id"], row["user_id"], row["transaction_id"]))
    return about


async def put(session: Session, action: Action) -> None:
    await session.run("put_action", *[getattr(action, name) for name in _COLUMNS])
