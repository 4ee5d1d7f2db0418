"""`/v1/users/{external_id}/transactions` and `/v1/transactions:batch`: what the app sold, in versions of its own."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from admin_api.bodies import Body, decode
from admin_api.cursors import from_transaction_cursor, transaction_cursor
from admin_api.errors import Refusal, refusal_of
from admin_api.examples import RIDE, RIDE_FACTS, page
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import ExternalId, Nothing, Paging
from admin_api.records import Applied, TransactionPage
from admin_api.translate import transaction_record
from admin_api.users import UserPath
from server.domain.errors import BadRequest, DomainError
from server.domain.transaction import Amount, Name, Transaction, TransactionId, Url, Version
from server.services.context import MAX_BATCH


class TransactionPath(UserPath, kw_only=True, frozen=True):
    id: TransactionId


class TransactionFacts(Body, kw_only=True, frozen=True):
    """One version of a transaction, whole: what is left out is not known of this version."""

    version: Version
    kind: Name | None = None
    status: Name | None = None
    title: Annotated[str, msgspec.Meta(max_length=300)] | None = None
    amount: Amount | None = None
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    url: Url | None = None
    image_url: Url | None = None
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)

    def named(self, transaction_id: str) -> Transaction:
        return Transaction(
            id=transaction_id,
            version=self.version,
            kind=self.kind,
            status=self.status,
            title=self.title,
            amount=self.amount,
            occurred_at=self.occurred_at,
            url=self.url,
            image_url=self.image_url,
            attributes=self.attributes,
        )


class BatchItem(TransactionFacts, kw_only=True, frozen=True):
    """A transaction with whose it is: `external_id` is the app's own id of the user."""

    external_id: ExternalId
    id: TransactionId


class Batch(Body, kw_only=True, frozen=True):
    """Each item is checked and answered by itself, so that one bad transaction costs no other."""

    itemised: ClassVar[bool] = True

    transactions: Annotated[
        list[msgspec.Raw],
        msgspec.Meta(
            max_length=MAX_BATCH,
            extra_json_schema={
                "items": {"anyOf": [{"$ref": "#/components/schemas/BatchItem"}, {"title": "Refused by itself"}]}
            },
        ),
    ]


class BatchResult(msgspec.Struct, kw_only=True, frozen=True):
    """`applied` as for a single one, or `error`. `external_id` and `id` as given, null if they could not be read."""

    external_id: str | None
    id: str | None
    applied: bool | UnsetType = UNSET
    error: Refusal | UnsetType = UNSET


class BatchAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """In the order of the request."""

    transactions: list[BatchResult]


async def put_transaction(call: Call[TransactionPath, Nothing, TransactionFacts]) -> Answer:
    applied = await call.doors.services.context.put_transaction(
        call.app.app_id, call.path.external_id, call.body.named(call.path.id)
    )
    return Answer(200, Applied(applied=applied))


async def put_batch(call: Call[Nothing, Nothing, Batch]) -> Answer:
    results: list[BatchResult | None] = []
    good: list[tuple[int, BatchItem]] = []
    for position, raw in enumerate(call.body.transactions):
        try:
            good.append((position, decode(bytes(raw), BatchItem)))
            results.append(None)
        except BadRequest as refusal:
            results.append(_refused(raw, refusal))
    outcomes = await call.doors.services.context.put_transactions(
        call.app.app_id, [(item.external_id, item.named(item.id)) for _, item in good]
    )
    for (position, item), outcome in zip(good, outcomes, strict=True):
        if isinstance(outcome, DomainError):
            results[position] = BatchResult(external_id=item.external_id, id=item.id, error=refusal_of(outcome))
        else:
            results[position] = BatchResult(external_id=item.external_id, id=item.id, applied=outcome.applied)
    return Answer(200, BatchAnswer(transactions=[result for result in results if result is not None]))


async def list_transactions(call: Call[UserPath, Paging, None]) -> Answer:
    app_id, external_id, limit = call.app.app_id, call.path.external_id, call.query.limit
    await call.doors.services.people.find(app_id, external_id)
    after = from_transaction_cursor(call.query.cursor)
    found = await call.doors.services.context.list_transactions(app_id, external_id, limit + 1, after)
    shown = found[:limit]
    return Answer(
        200,
        TransactionPage(
            items=[transaction_record(transaction) for _, transaction in shown],
            next_cursor=transaction_cursor(shown[-1][0], shown[-1][1].id) if len(found) > limit else None,
        ),
    )


class _Named(msgspec.Struct):
    """As much of a bad item as it takes to say which one it was."""

    external_id: Any = None
    id: Any = None


def _refused(raw: msgspec.Raw, refusal: BadRequest) -> BatchResult:
    try:
        named = msgspec.json.decode(raw, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        named = _Named()
    return BatchResult(
        external_id=named.external_id if isinstance(named.external_id, str) else None,
        id=named.id if isinstance(named.id, str) else None,
        error=refusal_of(refusal),
    )


_BATCH_EXAMPLE = {"transactions": [{"external_id": "blanca", "id": "ride-17"} | RIDE_FACTS]}

OPERATIONS = (
    Operation(
        method="PUT",
        path="/v1/users/{external_id}/transactions/{id}",
        id="put_transaction",
        summary="State a version of a transaction",
        description="An older or equal version changes nothing. A user not known yet is made. Open conversations about "
        "it get a `transaction.updated` event.",
        tag="transactions",
        door=Door.APP_SERVER,
        handler=put_transaction,
        parameters=TransactionPath,
        body=TransactionFacts,
        body_example=RIDE_FACTS,
        answers={200: Answered("Whether it was news.", Applied, {"applied": True})},
    ),
    Operation(
        method="POST",
        path="/v1/transactions:batch",
        id="put_transactions",
        summary="State up to 1,000 transactions",
        description="The answer is 200 even if every single one was refused: look at each.",
        tag="transactions",
        door=Door.APP_SERVER,
        handler=put_batch,
        body=Batch,
        body_example=_BATCH_EXAMPLE,
        largest="batch",
        answers={
            200: Answered(
                "One result an item, in the order of the request.",
                BatchAnswer,
                {"transactions": [{"external_id": "blanca", "id": "ride-17", "applied": True}]},
            )
        },
    ),
    Operation(
        method="GET",
        path="/v1/users/{external_id}/transactions",
        id="list_transactions",
        summary="List a user's transactions, newest first",
        tag="transactions",
        door=Door.APP_SERVER,
        handler=list_transactions,
        parameters=UserPath,
        query=Paging,
        answers={200: Answered("A page of them.", TransactionPage, page(RIDE))},
    ),
)
