"""Actions: what an agent may do for a customer at the app's own server, and how one goes on (docs/actions.md).

One table says every move there is. What is not in it is refused, so no two people and no two workers can settle the
same action in two ways.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from server.domain.errors import BadRequest
from server.domain.transaction import Amount, Transaction


class State(StrEnum):
    AWAITING_APPROVAL = "awaiting_approval"
    PENDING = "pending"
    UNKNOWN = "unknown"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"


class Cause(StrEnum):
    """Why an action moves: what a person decided, or what the app's server answered. `NO_ANSWER` is everything that
    says neither yes nor no: it may have happened."""

    APPROVE = "approve"
    REJECT = "reject"
    ANSWER_DONE = "done"
    ANSWER_FAILED = "failed"
    ANSWER_PENDING = "pending"
    NO_ANSWER = "no_answer"
    RETRY = "retry"


MOVES: dict[tuple[State, Cause], State] = {
    (State.AWAITING_APPROVAL, Cause.APPROVE): State.PENDING,
    (State.AWAITING_APPROVAL, Cause.REJECT): State.REJECTED,
    (State.PENDING, Cause.ANSWER_DONE): State.DONE,
    (State.PENDING, Cause.ANSWER_FAILED): State.FAILED,
    (State.PENDING, Cause.ANSWER_PENDING): State.PENDING,
    (State.PENDING, Cause.NO_ANSWER): State.UNKNOWN,
    (State.PENDING, Cause.RETRY): State.PENDING,
    (State.UNKNOWN, Cause.ANSWER_DONE): State.DONE,
    (State.UNKNOWN, Cause.ANSWER_FAILED): State.FAILED,
    (State.UNKNOWN, Cause.ANSWER_PENDING): State.PENDING,
    (State.UNKNOWN, Cause.NO_ANSWER): State.UNKNOWN,
    (State.UNKNOWN, Cause.RETRY): State.UNKNOWN,
}
OPEN = frozenset({State.AWAITING_APPROVAL, State.PENDING, State.UNKNOWN})
"""Not settled. Those that were allowed to go, `ASKED`, are asked for until they are, or until the days are over."""
ASKED = frozenset({State.PENDING, State.UNKNOWN})

WITHIN_S = 30.0
"""How long an app's server may take to answer."""
PAUSES_S = (2, 5, 15, 60, 300, 900, 1800, 3600)
"""After the first call that did not settle it, the second …; then every hour."""
GIVEN_UP_AFTER = timedelta(days=3)
MAX_DEFINITIONS = 50
MAX_MESSAGE = 1000

Approval = Literal["none", "second_agent"]
OverLimit = Literal["refuse", "approve"]
Approver = Literal["agent", "supervisor"]
ActionName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$(?!\n)")]


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What the app lets its agents do. `kinds`: of transactions it is for; none: any, or no transaction at all.
    `parameters`: a JSON Schema. `over_limit`: what becomes of a press beyond `amount_limit`: it is refused, or waits
    for a supervisor. `allow_parallel`: it may be pressed while an earlier one for the same transaction is not settled.
    """

    app_id: UUID
    definition_id: UUID
    name: str
    title: str
    url: str
    kinds: list[str]
    parameters: dict[str, Any]
    amount_limit: Amount | None
    over_limit: OverLimit
    approval: Approval
    allow_parallel: bool
    enabled: bool
    made_as: bytes
    created_at: datetime
    updated_at: datetime


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One press. `transaction`: the version that people have decided on, as JSON; it is sent with every repeat of the
    call. `approver`: who must agree; None: nobody. `since`: from when on its days are counted. `due_at`: when it is
    asked for next, or when the lease of `claim` ends; None: not by itself. `error`: why it is not settled, for people
    at the desk; `message`: the app's sentence for the customer."""

    app_id: UUID
    user_id: UUID
    conversation_id: UUID
    action_id: UUID
    listed_as: UUID
    definition_id: UUID
    name: str
    title: str
    transaction_id: str | None = None
    transaction: bytes | None = None
    parameters: bytes
    state: State = State.PENDING
    approver: Approver | None = None
    requested_by: UUID
    requested_at: datetime
    decided_by: UUID | None = None
    decided_at: datetime | None = None
    made_as: bytes
    attempts: int = 0
    since: datetime
    due_at: datetime | None = None
    claim: UUID | None = None
    status: int | None = None
    error: str | None = None
    message: str | None = None
    updated_at: datetime

    @property
    def version(self) -> int | None:
        """Of the transaction it is about."""
        return _version.decode(self.transaction).version if self.transaction is not None else None


class _Version(msgspec.Struct):
    version: int


_version = msgspec.json.Decoder(_Version)
_amount = msgspec.json.Decoder(Amount)


def next_state(state: State, cause: Cause) -> State | None:
    """None: there is no such move."""
    return MOVES.get((state, cause))


def pause_after(attempts: int, luck: float) -> timedelta:
    """Until the next call when `attempts` have settled nothing. `luck`, from 0 to 1, takes away up to a quarter."""
    return timedelta(seconds=PAUSES_S[min(attempts, len(PAUSES_S)) - 1] * (1 - luck / 4))


def approver_of(definition: Definition, parameters: dict[str, Any], transaction: Transaction | None) -> Approver | None:
    """Who must agree to this press. Raises BadRequest if nobody can: it is over the limit, or cannot be compared."""
    limit = definition.amount_limit
    if limit is not None:
        amount = amount_of(parameters, transaction, limit)
        if Decimal(amount.value) > Decimal(limit.value):
            if definition.over_limit == "refuse":
                raise BadRequest(
                    f"{amount.value} {amount.currency} is more than this action allows: "
                    f"{limit.value} {limit.currency}.",
                    field="parameters.amount",
                )
            return "supervisor"
    return "agent" if definition.approval == "second_agent" else None


def amount_of(parameters: dict[str, Any], transaction: Transaction | None, limit: Amount) -> Amount:
    """What a press is about: its parameter `amount`, an object or a decimal string with `currency` beside it; without
    one the transaction's whole amount. In the currency of `limit`. Raises BadRequest."""
    given = parameters.get("amount")
    whole = transaction.amount if transaction is not None else None
    if given is None:
        amount = whole
    elif isinstance(given, dict):
        amount = _checked({"value": given.get("value"), "currency": given.get("currency")})
    else:
        currency = parameters.get("currency") or (whole.currency if whole is not None else limit.currency)
        amount = _checked({"value": given, "currency": currency})
    if amount is None:
        raise BadRequest("This action has a limit: say the `amount`.", field="parameters.amount")
    if amount.currency != limit.currency:
        raise BadRequest(
            f"The limit of this action is in {limit.currency}; {amount.currency} cannot be compared with it.",
            field="parameters.currency",
        )
    if Decimal(amount.value) <= 0:
        raise BadRequest("The amount must be greater than zero.", field="parameters.amount")
    return amount


def _checked(given: dict[str, Any]) -> Amount:
    try:
        return _amount.decode(msgspec.json.encode(given))
    except msgspec.ValidationError:
        raise BadRequest(
            'An amount is a decimal string such as "12.50", and a currency such as "EUR".', field="parameters.amount"
        ) from None
