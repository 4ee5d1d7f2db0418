"""What an app's server answered to the call of an action (docs/actions.md). What is not exactly an answer is none."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from server.domain import message
from server.domain.action import MAX_MESSAGE
from server.domain.bounds import check_open
from server.domain.errors import BadRequest, DomainError
from server.domain.transaction import Transaction
from server.outgoing.interface import Answered, Refused, Unreachable
from server.services.context import check_transaction

if TYPE_CHECKING:
    from server.domain.message import MessageBody
    from server.outgoing.interface import Outcome

MOST_QUOTED = 200


class Said(msgspec.Struct, frozen=True):
    """The answer's JSON. Other fields are left alone."""

    state: Literal["done", "failed", "pending"]
    message: Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE)] | None = None
    coupon: dict[str, Any] | None = None
    transaction: dict[str, Any] | None = None


class _Coupon(msgspec.Struct, frozen=True):
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
    amount: str | None = None
    currency: str | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`state` None: there is no telling whether it happened, and `error` says why in words for the desk."""

    state: Literal["done", "failed", "pending"] | None = None
    message: str | None = None
    coupon: MessageBody | None = None
    transaction: Transaction | None = None
    error: str | None = None


def answer_of(outcome: Outcome, transaction_id: str | None) -> Answer:
    """`transaction_id`: of the action's transaction, which a transaction without an `id` is."""
    match outcome:
        case Answered(status=status) if 300 <= status < 400:
            return Answer(error=f"it answered {status}: redirects are not followed")
        case Answered() if not outcome.ok:
            return Answer(error=f"it answered {outcome.status}")
        case Answered(truncated=True):
            return Answer(error=f"it answered {outcome.status} with more than is read of an answer")
        case Answered():
            return _said(outcome, transaction_id)
        case Unreachable(reason=reason):
            return Answer(error=reason)
        case Refused(reason=reason):
            return Answer(error=f"not called: {reason}")


def _said(outcome: Answered, transaction_id: str | None) -> Answer:
    try:
        said = msgspec.json.decode(outcome.body, type=Said)
        check_open({"message": said.message or ""}, "message")
        return Answer(
            state=said.state,
            message=said.message if said.message and not said.message.isspace() else None,
            coupon=_coupon(said.coupon) if said.coupon is not None else None,
            transaction=_transaction(said.transaction, transaction_id) if said.transaction is not None else None,
        )
    except (msgspec.ValidationError, DomainError) as problem:
        why = str(problem)[:MOST_QUOTED]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        why = "it is not JSON"
    return Answer(error=f"it answered {outcome.status}, but not as agreed: {why}")


def _coupon(given: dict[str, Any]) -> MessageBody:
    """As in a message, and as strict as the wire about what a phone shows."""
    coupon = msgspec.convert(given | {"kind": "coupon"}, _Coupon)
    if coupon.amount is not None and coupon.currency is None:
        raise BadRequest("A coupon's amount needs a currency.", field="coupon.currency")
    return message.parse(msgspec.json.encode(given | {"kind": "coupon"}), "agent")


def _transaction(given: dict[str, Any], transaction_id: str | None) -> Transaction:
    named = given if "id" in given or transaction_id is None else given | {"id": transaction_id}
    transaction = msgspec.convert(named, Transaction)
    check_transaction(transaction)
    return transaction
