"""`POST /v1/users/{external_id}/messages`: the app speaks first. Opens a conversation or continues one, and pushes."""

from typing import Annotated
from uuid import UUID

import msgspec

from admin_api.bodies import Body, message_body
from admin_api.clientids import REPLAYED, check_same_kind, client_id
from admin_api.examples import AT, CONVERSATION_ID, EVENT, MESSAGE_ID
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import Nothing
from admin_api.records import MESSAGE_BODY, Proactive
from admin_api.translate import event_record
from admin_api.users import UserPath
from server.domain.errors import IdempotencyConflict
from server.domain.events import Author, AuthorType, Kind
from server.domain.ids import client_id_of
from server.domain.intents import Message
from server.services.directory import Place

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Outreach(Body, kw_only=True, frozen=True):
    """Without `conversation` a new one is opened; with it that one is continued, or opened under this id.

    `topic` and `transaction` matter where one is opened. `author_name` is what the customer reads as the sender, the
    app's name if left out. `id` makes a repeat harmless, as an `Idempotency-Key` does; `id` wins.
    """

    body: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=MESSAGE_BODY)]
    conversation: UUID | None = None
    topic: Line | None = None
    transaction: Line | None = None
    id: UUID | None = None
    author_name: Line | None = None


async def send(call: Call[UserPath, Nothing, Outreach]) -> Answer:
    services, app, wish = call.doors.services, call.app, call.body
    body = message_body(wish.body)
    user = await services.people.find(app.app_id, call.path.external_id)
    call.rates.user.take(f"{app.app_id}:{user.external_id}")
    message_id = client_id(wish.id, call.idempotency_key, scope=app.app_id, verb="message", now=call.doors.clock.now())
    # Made from the message's id, so that a repeat comes to the same conversation.
    conversation = wish.conversation or client_id_of(user.user_id, f"conversation {message_id}")
    place = Place(app.app_id, user.user_id, conversation)
    author = Author(AuthorType.BOT, str(app.app_id), wish.author_name or app.name)
    numbered = await services.messaging.open(
        place,
        author,
        topic=wish.topic,
        transaction_id=wish.transaction,
        first=Message(message_id, author, body),
    )
    if not numbered.duplicate and numbered.event is not None:
        return Answer(201, Proactive(conversation=conversation, event=event_record(numbered.event)))
    event = await services.messaging.event(place, numbered.seq or 0)
    check_same_kind(event, Kind.MESSAGE)
    if wish.conversation is None:
        (first,) = await services.conversations.refresh([(app.app_id, user.user_id, conversation)])
        opened = first.conversation
        if (opened.topic, opened.transaction_id, event.author.name) != (wish.topic, wish.transaction, author.name):
            raise IdempotencyConflict("This id was used for another message; make a new id.", field="id")
    return Answer(201, Proactive(conversation=conversation, event=event_record(event)), REPLAYED)


_BOT_EVENT = EVENT | {
    "seq": 2,
    "at": AT,
    "author": {"type": "bot", "id": "0198c5a2-6c3e-7b1a-9d40-3f1f5f0c7a11", "name": "Kestrel"},
    "body": {"kind": "text", "text": "Your driver found an umbrella. Is it yours?"},
}

OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/users/{external_id}/messages",
        id="send_proactive_message",
        summary="Write to a user first",
        description="Opens a conversation or continues one; the user's devices get it live or as a push.",
        tag="messages",
        door=Door.APP_SERVER,
        handler=send,
        parameters=UserPath,
        body=Outreach,
        body_example={
            "id": MESSAGE_ID,
            "topic": "lost_item",
            "transaction": "ride-17",
            "body": _BOT_EVENT["body"],
        },
        creates=True,
        answers={
            201: Answered(
                "It is stored and on its way, now or before.",
                Proactive,
                {"conversation": CONVERSATION_ID, "event": _BOT_EVENT},
                headers=("Idempotent-Replayed",),
            ),
        },
        errors=(409,),
    ),
)
