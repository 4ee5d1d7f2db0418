"""`/v1/webhooks`: where an app's server wants to hear of events, and what became of each (docs/webhooks.md)."""

from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from admin_api.bodies import Body
from admin_api.clientids import REPLAYED
from admin_api.cursors import from_id_cursor, id_cursor
from admin_api.examples import WEBHOOK, WEBHOOK_DELIVERY, WEBHOOK_ID, page
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import Nothing, Paging, Parameters
from admin_api.records import (
    Webhook,
    WebhookDelivery,
    WebhookDeliveryPage,
    WebhookPage,
    WebhookTest,
    WebhookWithSecret,
)
from admin_api.translate import webhook_delivery_record, webhook_record, webhook_with_secret
from server.domain.webhook import MAX_DESCRIPTION, TYPES, EventType
from server.outgoing.targets import MAX_URL
from server.services.webhooks import Wish

Url = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_URL,
        description="https, a public host, no user name and no fragment.",
    ),
]
Events = Annotated[list[EventType], msgspec.Meta(min_length=1, max_length=len(TYPES))]
Description = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_DESCRIPTION)]
TEST_COSTS = 5


class WebhookPath(Parameters, kw_only=True, frozen=True):
    id: UUID


class DeliveryPath(WebhookPath, kw_only=True, frozen=True):
    delivery: UUID


class DeliveryQuery(Paging, kw_only=True, frozen=True):
    state: Literal["pending", "delivered", "dead"] | None = None


class NewWebhook(Body, kw_only=True, frozen=True):
    """`description` is for people who look at the list."""

    url: Url
    events: Events
    description: Description | None = None


class WebhookWish(Body, kw_only=True, frozen=True):
    """What is left out stays. `enabled` true also ends a pause."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


async def create(call: Call[Nothing, Nothing, NewWebhook]) -> Answer:
    call.rates.webhooks.take(str(call.app.app_id))
    wish = call.body
    made = await call.doors.services.webhooks.create(
        call.app.app_id, wish.url, list(wish.events), wish.description, call.idempotency_key
    )
    return Answer(201, webhook_with_secret(made), REPLAYED if made.repeated else {})


async def list_webhooks(call: Call[Nothing, Paging, None]) -> Answer:
    limit = call.query.limit
    found = await call.doors.services.webhooks.list_endpoints(
        call.app.app_id, from_id_cursor(call.query.cursor), limit + 1
    )
    shown = found[:limit]
    next_cursor = id_cursor(shown[-1].endpoint_id) if len(found) > limit else None
    return Answer(200, WebhookPage(items=[webhook_record(each) for each in shown], next_cursor=next_cursor))


async def get_webhook(call: Call[WebhookPath, Nothing, None]) -> Answer:
    return Answer(200, webhook_record(await call.doors.services.webhooks.find(call.app.app_id, call.path.id)))


async def change(call: Call[WebhookPath, Nothing, WebhookWish]) -> Answer:
    call.rates.webhooks.take(str(call.app.app_id))
    body = call.body
    events = list[str](body.events) if isinstance(body.events, list) else UNSET
    wish = Wish(url=body.url, events=events, description=body.description, enabled=body.enabled)
    return Answer(200, webhook_record(await call.doors.services.webhooks.change(call.app.app_id, call.path.id, wish)))


async def delete(call: Call[WebhookPath, Nothing, None]) -> Answer:
    call.rates.webhooks.take(str(call.app.app_id))
    await call.doors.services.webhooks.delete(call.app.app_id, call.path.id)
    return Answer(204)


async def rotate(call: Call[WebhookPath, Nothing, None]) -> Answer:
    call.rates.webhooks.take(str(call.app.app_id))
    made = await call.doors.services.webhooks.rotate_secret(call.app.app_id, call.path.id)
    return Answer(200, webhook_with_secret(made))


async def test(call: Call[WebhookPath, Nothing, None]) -> Answer:
    call.rates.webhooks.take(str(call.app.app_id), TEST_COSTS)
    tested = await call.doors.services.webhooks.test(call.app.app_id, call.path.id)
    return Answer(
        200,
        WebhookTest(id=tested.event_id, ok=tested.error is None, status=tested.status, error=tested.error),
    )


async def list_deliveries(call: Call[WebhookPath, DeliveryQuery, None]) -> Answer:
    query, limit = call.query, call.query.limit
    found = await call.doors.services.webhooks.list_deliveries(
        call.app.app_id, call.path.id, query.state, from_id_cursor(query.cursor), limit + 1
    )
    shown = found[:limit]
    next_cursor = id_cursor(shown[-1].event_id) if len(found) > limit else None
    items = [webhook_delivery_record(each) for each in shown]
    return Answer(200, WebhookDeliveryPage(items=items, next_cursor=next_cursor))


async def replay(call: Call[DeliveryPath, Nothing, None]) -> Answer:
    again = await call.doors.services.webhooks.replay(call.app.app_id, call.path.id, call.path.delivery)
    return Answer(202, webhook_delivery_record(again))


def _operation(method: Any, suffix: str, handler: Callable[[Any], Any], **rest: Any) -> Operation:
    return Operation(
        method=method,
        path="/v1/webhooks" + suffix,
        tag="webhooks",
        door=Door.APP_SERVER,
        handler=handler,
        **rest,
    )


_WITH_SECRET = WEBHOOK | {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="}
_WISH = {"url": WEBHOOK["url"], "events": WEBHOOK["events"], "description": "Kestrel's backend"}

# Verbs first: a path that ends in one also looks like an id.
OPERATIONS = (
    _operation(
        "POST",
        "/{id}:rotate-secret",
        rotate,
        id="rotate_webhook_secret",
        summary="Replace the signing secret",
        description="The secret before goes on signing beside the new one for 24 hours, so nothing is missed while the "
        "receiver learns the new one.",
        parameters=WebhookPath,
        answers={200: Answered("The webhook with its new secret, shown this once.", WebhookWithSecret, _WITH_SECRET)},
    ),
    _operation(
        "POST",
        "/{id}:test",
        test,
        id="test_webhook",
        summary="Send a ping now",
        description="An event of type `ping` with empty `data`, signed as any other, within 10 s; not repeated. The "
        "answer is 200 whatever became of it: look at `ok`.",
        parameters=WebhookPath,
        answers={
            200: Answered(
                "What became of it.",
                WebhookTest,
                {"id": WEBHOOK_ID, "ok": False, "status": 500, "error": "it answered 500"},
            )
        },
    ),
    _operation(
        "POST",
        "/{id}/deliveries/{delivery}:replay",
        replay,
        id="replay_webhook_delivery",
        summary="Deliver an event once more",
        description="With the same id, behind what waits in its conversation. One that is still pending is tried now.",
        parameters=DeliveryPath,
        answers={202: Answered("It waits to be delivered.", WebhookDelivery, WEBHOOK_DELIVERY)},
    ),
    _operation(
        "GET",
        "/{id}/deliveries",
        list_deliveries,
        id="list_webhook_deliveries",
        summary="What became of each event",
        description="Newest first. Delivered ones are kept for 7 days, others for 30.",
        parameters=WebhookPath,
        query=DeliveryQuery,
        answers={200: Answered("A page of them.", WebhookDeliveryPage, page(WEBHOOK_DELIVERY))},
    ),
    _operation(
        "POST",
        "",
        create,
        id="create_webhook",
        summary="Add a webhook",
        description="It hears of every event that is committed after the answer. At most 10 an app.",
        body=NewWebhook,
        body_example=_WISH,
        creates=True,
        answers={
            201: Answered(
                "The webhook with its signing secret, shown this once.",
                WebhookWithSecret,
                _WITH_SECRET,
                headers=("Idempotent-Replayed",),
            )
        },
        errors=(409,),
    ),
    _operation(
        "GET",
        "",
        list_webhooks,
        id="list_webhooks",
        summary="List the app's webhooks",
        query=Paging,
        answers={200: Answered("A page of them.", WebhookPage, page(WEBHOOK))},
    ),
    _operation(
        "GET",
        "/{id}",
        get_webhook,
        id="get_webhook",
        summary="Read a webhook",
        parameters=WebhookPath,
        answers={200: Answered("The webhook.", Webhook, WEBHOOK)},
    ),
    _operation(
        "PATCH",
        "/{id}",
        change,
        id="change_webhook",
        summary="Change a webhook, or switch it off and on",
        description="`enabled` true, or another URL, also ends a pause: what waited is delivered.",
        parameters=WebhookPath,
        body=WebhookWish,
        body_example={"enabled": True},
        answers={200: Answered("The webhook as it is now.", Webhook, WEBHOOK)},
    ),
    _operation(
        "DELETE",
        "/{id}",
        delete,
        id="delete_webhook",
        summary="Remove a webhook",
        description="It is not called any more, and what waits for it is forgotten.",
        parameters=WebhookPath,
        answers={204: Answered("It is gone.")},
    ),
)
