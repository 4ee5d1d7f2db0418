"""`/admin/v1/conversations/{conversation}/…`, written: messages, notes, and moving a conversation along."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from admin_api.bodies import Body, message_body
from admin_api.clientids import REPLAYED, check_same_kind, client_id
from admin_api.conversations import ConversationPath
from admin_api.cursors import Seq
from admin_api.examples import AGENT_ID, EVENT, MESSAGE_ID, SUMMARY, TEXT
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import Nothing
from admin_api.records import MESSAGE_BODY, Event, Status, Summary
from admin_api.translate import event_record, summary_record
from server.domain.conversation import MAX_TAG_CHARS, MAX_TAGS
from server.domain.errors import NotFound
from server.domain.events import Kind
from server.domain.intents import Message
from server.domain.numbering import Numbered
from server.services.directory import Place

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TAG_CHARS, pattern=r"\S")]
MessageBody = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=MESSAGE_BODY)]


class Reply(Body, kw_only=True, frozen=True):
    """`expected_seq`: the newest event the agent has read; a newer message of somebody else is a 409 `conflict`.
    `id` makes a repeat harmless, as an `Idempotency-Key` does; `id` wins."""

    body: MessageBody
    id: UUID | None = None
    expected_seq: Seq | None = None


class Note(Body, kw_only=True, frozen=True):
    """Private: the customer never sees it."""

    body: MessageBody
    id: UUID | None = None


class StatusWish(Body, kw_only=True, frozen=True):
    """`snoozed_until` goes with `snoozed`, and must be in the future."""

    status: Status
    snoozed_until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Assignment(Body, kw_only=True, frozen=True):
    """`me`, the id of an agent of the same app, or null to put it back."""

    agent: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None


class Tags(Body, kw_only=True, frozen=True):
    """All tags the conversation shall have: up to 50, each up to 50 characters; kept in lower case."""

    tags: Annotated[list[Tag], msgspec.Meta(max_length=MAX_TAGS)]


class ReadWish(Body, kw_only=True, frozen=True):
    """The newest `seq` the agents have read. The cursor never goes back."""

    seq: Seq


async def post_message(call: Call[ConversationPath, Nothing, Reply]) -> Answer:
    place = await _place(call)
    sent = _message(call, call.body.id, call.body.body, "message")
    numbered = await call.doors.services.messaging.post(place, sent, expected_seq=call.body.expected_seq)
    return await _event(call, place, numbered, Kind.MESSAGE)


async def post_note(call: Call[ConversationPath, Nothing, Note]) -> Answer:
    place = await _place(call)
    numbered = await call.doors.services.messaging.note(place, _message(call, call.body.id, call.body.body, "note"))
    return await _event(call, place, numbered, Kind.NOTE)


async def set_status(call: Call[ConversationPath, Nothing, StatusWish]) -> Answer:
    await call.doors.services.conversations.set_status(
        call.agent, call.path.conversation, call.body.status, call.body.snoozed_until
    )
    return await _summary(call)


async def assign(call: Call[ConversationPath, Nothing, Assignment]) -> Answer:
    assignee = None
    if call.body.agent == "me":
        assignee = call.agent.agent_id
    elif call.body.agent is not None:
        try:
            assignee = UUID(call.body.agent)
        except ValueError:
            await _place(call)
            raise NotFound("There is no such agent in this app.", field="agent") from None
    await call.doors.services.conversations.assign(call.agent, call.path.conversation, assignee)
    return await _summary(call)


async def set_tags(call: Call[ConversationPath, Nothing, Tags]) -> Answer:
    await call.doors.services.conversations.set_tags(call.agent, call.path.conversation, call.body.tags)
    return await _summary(call)


async def mark_read(call: Call[ConversationPath, Nothing, ReadWish]) -> Answer:
    place = await _place(call)
    await call.doors.services.messaging.mark_read(place, "agent", call.agent.author, call.body.seq)
    return await _summary(call)


async def _place(call: Call[ConversationPath, Any, Any]) -> Place:
    return await call.doors.services.conversations.locate(call.agent, call.path.conversation)


def _message(call: Call[ConversationPath, Any, Any], given: UUID | None, body: msgspec.Raw, verb: str) -> Message:
    checked = message_body(body)
    made = client_id(given, call.idempotency_key, scope=call.agent.agent_id, verb=verb, now=call.doors.clock.now())
    return Message(made, call.agent.author, checked)


async def _event(call: Call[ConversationPath, Any, Any], place: Place, numbered: Numbered, kind: Kind) -> Answer:
    """The event; where it had been written before, the first one, and a header that says so."""
    if not numbered.duplicate and numbered.event is not None:
        return Answer(201, event_record(numbered.event))
    event = await call.doors.services.messaging.event(place, numbered.seq or 0)
    check_same_kind(event, kind)
    return Answer(201, event_record(event), REPLAYED)


async def _summary(call: Call[ConversationPath, Any, Any]) -> Answer:
    listed = await call.doors.services.conversations.find(call.agent, call.path.conversation)
    return Answer(200, summary_record(listed))


def _operation(noun: str, handler: Callable[[Any], Any], **rest: Any) -> Operation:
    return Operation(
        method="POST",
        path="/admin/v1/conversations/{conversation}/" + noun,
        tag="conversations",
        door=Door.AGENT,
        parameters=ConversationPath,
        handler=handler,
        **rest,
    )


_CHANGED = {200: Answered("The conversation as it is now.", Summary, SUMMARY)}

OPERATIONS = (
    _operation(
        "messages",
        post_message,
        id="post_message",
        summary="Answer the customer",
        description="With `expected_seq`, nothing is written if somebody else has written since: the answer is 409 "
        "`conflict` with the newer `events`.",
        body=Reply,
        body_example={"id": MESSAGE_ID, "body": TEXT, "expected_seq": 2},
        creates=True,
        answers={
            201: Answered(
                "The event as it was written, now or before.", Event, EVENT, headers=("Idempotent-Replayed",)
            ),
        },
        errors=(409,),
    ),
    _operation(
        "notes",
        post_note,
        id="post_note",
        summary="Add a private note",
        body=Note,
        body_example={"body": {"kind": "text", "text": "The depot has it."}},
        creates=True,
        answers={
            201: Answered(
                "The event as it was written, now or before.",
                Event,
                EVENT | {"kind": "note"},
                headers=("Idempotent-Replayed",),
            ),
        },
        errors=(409,),
    ),
    _operation(
        "status",
        set_status,
        id="set_status",
        summary="Open, put on hold, snooze or resolve",
        body=StatusWish,
        body_example={"status": "resolved"},
        answers=_CHANGED,
    ),
    _operation(
        "assignment",
        assign,
        id="assign",
        summary="Give it to an agent, or put it back",
        body=Assignment,
        body_example={"agent": AGENT_ID},
        answers=_CHANGED,
    ),
    _operation(
        "tags",
        set_tags,
        id="set_tags",
        summary="Replace the tags",
        body=Tags,
        body_example={"tags": ["umbrella", "lost-item"]},
        answers=_CHANGED,
    ),
    _operation(
        "read",
        mark_read,
        id="mark_read",
        summary="Move the agents' read cursor forward",
        body=ReadWish,
        body_example={"seq": 3},
        answers=_CHANGED,
    ),
)
