"""How actions move in a user's log: pressed, decided, settled (docs/actions.md). Part of `numbering.apply`.

Everything is decided under the lock of the user's row, so of two who press, or of one who approves and one who rejects,
one is first and the other is told. What the customer's own devices are sent is made here and is nothing but the
action's name, title, state, transaction id and the app's sentence: parameters and errors are not in the log at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from server.domain.action import OPEN, Action, Cause, State, approver_of, next_state
from server.domain.errors import BadRequest, Conflict, Forbidden, IdempotencyConflict, NotFound
from server.domain.events import Kind
from server.domain.intents import MoveAction, PressAction

if TYPE_CHECKING:
    from server.domain.action import Definition
    from server.domain.conversation import Conversation
    from server.domain.events import Author
    from server.domain.numbering import Ledger, Numbered
    from server.domain.transaction import Transaction

TOLD = frozenset({State.PENDING, State.DONE, State.FAILED})
"""What the customer hears of. Who has to agree, and that we do not know, stays at the desk."""

KEY_USED = "This key was used for another action; make a new key."

_encode = msgspec.json.Encoder().encode


def act(ledger: Ledger, intent: PressAction | MoveAction) -> Numbered:
    return _press(ledger, intent) if isinstance(intent, PressAction) else _move(ledger, intent)


def _press(ledger: Ledger, intent: PressAction) -> Numbered:
    conversation = ledger.conversation(intent.conversation_id)
    action, definition = intent.action, intent.definition
    earlier = ledger.actions.get(action.action_id)
    if earlier is not None:
        if earlier.made_as != action.made_as or earlier.conversation_id != action.conversation_id:
            raise IdempotencyConflict(KEY_USED, field="Idempotency-Key")
        return ledger.unchanged(conversation)
    transaction = _transaction_for(ledger, intent)
    _check_alone(ledger, action, definition)
    approver = approver_of(definition, intent.parameters, transaction)
    pressed = msgspec.structs.replace(
        action,
        transaction=_encode(transaction) if transaction is not None else None,
        state=State.AWAITING_APPROVAL if approver is not None else State.PENDING,
        approver=approver,
        due_at=None if approver is not None else ledger.now,
    )
    return _noted(ledger, conversation, pressed, intent.author)


def _transaction_for(ledger: Ledger, intent: PressAction) -> Transaction | None:
    """The transaction as it is now, if the action may be pressed for it."""
    action, definition = intent.action, intent.definition
    if action.transaction_id is None:
        if definition.kinds:
            raise BadRequest(f"This action is for a transaction: {', '.join(definition.kinds)}.", field="transaction")
        return None
    known = ledger.transactions.get(action.transaction_id)
    if known is None:
        raise NotFound("This customer has no such transaction.", field="transaction")
    if definition.kinds and known.kind not in definition.kinds:
        raise BadRequest(
            f"This action is for {', '.join(definition.kinds)}; the transaction is {known.kind or 'of no kind'}.",
            field="transaction",
        )
    if intent.version is not None and known.version != intent.version:
        raise _moved_on(known, "version")
    return known


def _moved_on(known: Transaction, field: str) -> Conflict:
    return Conflict(
        f"The transaction is at version {known.version} now; look at it, then decide again with that version.",
        field=field,
    )


def _check_alone(ledger: Ledger, action: Action, definition: Definition) -> None:
    if definition.allow_parallel:
        return
    for other in ledger.actions.values():
        if (
            other.definition_id == action.definition_id
            and other.transaction_id == action.transaction_id
            and other.state in OPEN
        ):
            raise Conflict(
                f"The same action for the same transaction is {other.state.value} already: {other.action_id}.",
                field="action",
            )


def _move(ledger: Ledger, intent: MoveAction) -> Numbered:
    action = ledger.actions.get(intent.action_id)
    if action is None:
        raise NotFound("There is no such action.", field="action")
    conversation = ledger.conversation(action.conversation_id)
    if intent.claim is not None and action.claim != intent.claim:
        raise Conflict("Somebody else asks for this action by now.", field="action")
    state = next_state(action.state, intent.cause)
    if state is None:
        if _said_before(action, intent):
            return ledger.unchanged(conversation)
        raise Conflict(f"This action is {action.state.value} already.", field="action")
    changes: dict[str, Any] = {"state": state, "claim": None, "due_at": intent.due_at}
    if intent.cause in (Cause.APPROVE, Cause.REJECT):
        changes |= _decided(ledger, action, intent)
    elif intent.cause is Cause.RETRY:
        changes |= {"since": ledger.now, "attempts": 0}
    else:
        changes |= {
            "attempts": action.attempts + 1,
            "status": intent.status,
            "error": intent.error,
            "message": action.message if intent.cause is Cause.NO_ANSWER else intent.message,
        }
    moved = msgspec.structs.replace(action, updated_at=ledger.now, **changes)
    if moved.state is action.state and moved.message == action.message:
        ledger.actions[action.action_id] = ledger.acted[action.action_id] = moved
        return ledger.unchanged(conversation)
    return _noted(ledger, conversation, moved, intent.author)


def _said_before(action: Action, intent: MoveAction) -> bool:
    """The same agent has decided the same before: a second click."""
    if intent.by is None or action.decided_by != intent.by:
        return False
    return intent.cause is (Cause.REJECT if action.state is State.REJECTED else Cause.APPROVE)


def _decided(ledger: Ledger, action: Action, intent: MoveAction) -> dict[str, Any]:
    own = intent.by == action.requested_by
    if intent.cause is Cause.APPROVE and own:
        raise Forbidden("Whoever asked for an action cannot approve it; somebody else must.")
    if not own and action.approver == "supervisor" and not intent.supervisor:
        raise Forbidden("This action is over its limit: a supervisor must decide.")
    decided: dict[str, Any] = {"decided_by": intent.by, "decided_at": ledger.now}
    if intent.cause is Cause.REJECT:
        return decided
    if action.transaction_id is not None and action.transaction is not None:
        known = ledger.transactions.get(action.transaction_id)
        if known is not None and known.version != action.version:
            if intent.version != known.version:
                raise _moved_on(known, "version")
            decided["transaction"] = _encode(known)
    return decided | {"due_at": ledger.now, "since": ledger.now}


def _noted(ledger: Ledger, conversation: Conversation, action: Action, author: Author) -> Numbered:
    ledger.actions[action.action_id] = ledger.acted[action.action_id] = action
    told: dict[str, Any] = {
        "id": action.action_id,
        "name": action.name,
        "title": action.title,
        "state": action.state.value,
    }
    if action.transaction_id is not None:
        told["transaction"] = action.transaction_id
    if action.message is not None:
        told["message"] = action.message
    body = _encode({"action": told})
    return ledger.numbered(ledger.append(conversation, Kind.ACTION, author, body, visible=action.state in TOLD))
