"""`/admin/v1/conversations`, read: the inbox, one conversation with its context, its thread, its pushes."""

from typing import Annotated
from uuid import UUID

import msgspec

from admin_api.cursors import Seq, Sort, conversation_cursor, event_cursor, from_conversation_cursor, from_event_cursor
from admin_api.examples import CONVERSATION_ID, DELIVERY, DETAIL, EVENT, SUMMARY, page
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import Cursor, Limit, Nothing, Paging, Parameters, as_uuid
from admin_api.records import ConversationPage, DeliveryPage, Detail, EventPage, Status
from admin_api.translate import delivery_record, detail_record, event_record, summary_record
from server.domain.errors import BadRequest
from server.storage.conversations import InboxQuery

Filter = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class ConversationPath(Parameters, kw_only=True, frozen=True):
    conversation: Annotated[UUID, msgspec.Meta(examples=[CONVERSATION_ID])]


class InboxParameters(Paging, kw_only=True, frozen=True):
    """All given filters must fit."""

    app: Annotated[UUID, msgspec.Meta(description="One app; all of the agent's if left out.")] | None = None
    status: Status | None = None
    assignee: (
        Annotated[
            Filter,
            msgspec.Meta(
                description="`me`, `none`, or an agent's id.",
                extra_json_schema={"pattern": "^(me|none|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$"},
            ),
        ]
        | None
    ) = None
    topic: Filter | None = None
    tag: Filter | None = None
    q: (
        Annotated[
            Filter,
            msgspec.Meta(
                description="Part of the customer's name, id or e-mail address, of the topic, "
                "of the headline or of the newest message."
            ),
        ]
        | None
    ) = None
    sort: Annotated[
        Sort,
        msgspec.Meta(
            description="`opened`: last opened first, every conversation exactly once however long one pages. "
            "`updated`: last touched first; what is touched meanwhile moves to the front."
        ),
    ] = "opened"


class ThreadParameters(Parameters, kw_only=True, frozen=True):
    """`after`: the last `seq` one has; `cursor` stands for it on further pages."""

    after: Seq | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


async def list_conversations(call: Call[Nothing, InboxParameters, None]) -> Answer:
    wanted, agent = call.query, call.agent
    assignee = None
    if wanted.assignee == "me":
        assignee = agent.agent_id
    elif wanted.assignee is not None and wanted.assignee != "none":
        assignee = as_uuid(wanted.assignee, "assignee")
    query = InboxQuery(
        apps=[wanted.app] if wanted.app is not None else list(agent.memberships),
        status=wanted.status,
        assignee=assignee,
        unassigned=wanted.assignee == "none",
        topic=wanted.topic,
        tag=wanted.tag.strip().lower() if wanted.tag is not None else None,
        text=wanted.q,
        by_updated=wanted.sort == "updated",
        after=from_conversation_cursor(wanted.cursor, wanted.sort),
        limit=wanted.limit + 1,
    )
    found = await call.doors.services.conversations.list_inbox(agent, query)
    shown = found[: wanted.limit]
    cursor = None
    if len(found) > wanted.limit:
        last = shown[-1].conversation
        at = last.updated_at if query.by_updated else last.opened_at
        cursor = conversation_cursor(wanted.sort, at, last.conversation_id)
    return Answer(200, ConversationPage(items=[summary_record(each) for each in shown], next_cursor=cursor))


async def get_conversation(call: Call[ConversationPath, Nothing, None]) -> Answer:
    detail = await call.doors.services.conversations.detail(call.agent, call.path.conversation)
    return Answer(200, detail_record(detail))


async def list_events(call: Call[ConversationPath, ThreadParameters, None]) -> Answer:
    wanted = call.query
    if wanted.after is not None and wanted.cursor is not None:
        raise BadRequest("Give `after` or `cursor`, not both.", field="cursor")
    after = from_event_cursor(wanted.cursor) if wanted.cursor is not None else wanted.after or 0
    found = await call.doors.services.conversations.events(call.agent, call.path.conversation, after, wanted.limit + 1)
    shown = found[: wanted.limit]
    return Answer(
        200,
        EventPage(
            items=[event_record(event) for event in shown],
            next_cursor=event_cursor(shown[-1].seq) if len(found) > wanted.limit else None,
        ),
    )


async def list_deliveries(call: Call[ConversationPath, Nothing, None]) -> Answer:
    services = call.doors.services
    place = await services.conversations.locate(call.agent, call.path.conversation)
    found = await services.notifications.of_conversation(place.app_id, place.user_id, place.conversation_id)
    return Answer(200, DeliveryPage(items=[delivery_record(push) for push in found], next_cursor=None))


OPERATIONS = (
    Operation(
        method="GET",
        path="/admin/v1/conversations",
        id="list_conversations",
        summary="List conversations",
        tag="conversations",
        door=Door.AGENT,
        handler=list_conversations,
        query=InboxParameters,
        answers={200: Answered("A page of summaries.", ConversationPage, page(SUMMARY))},
        errors=(404,),
    ),
    Operation(
        method="GET",
        path="/admin/v1/conversations/{conversation}",
        id="get_conversation",
        summary="Read a conversation with its context",
        description="The context as it was frozen when the conversation was opened, beside the transactions as they "
        "are now.",
        tag="conversations",
        door=Door.AGENT,
        handler=get_conversation,
        parameters=ConversationPath,
        answers={200: Answered("The conversation and what is around it.", Detail, DETAIL)},
    ),
    Operation(
        method="GET",
        path="/admin/v1/conversations/{conversation}/events",
        id="list_events",
        summary="Read a thread by `seq`, private notes included",
        tag="conversations",
        door=Door.AGENT,
        handler=list_events,
        parameters=ConversationPath,
        query=ThreadParameters,
        answers={200: Answered("Events in order.", EventPage, page(EVENT))},
    ),
    Operation(
        method="GET",
        path="/admin/v1/conversations/{conversation}/deliveries",
        id="list_deliveries",
        summary="See what became of each push",
        tag="conversations",
        door=Door.AGENT,
        handler=list_deliveries,
        parameters=ConversationPath,
        answers={200: Answered("One entry a device.", DeliveryPage, page(DELIVERY))},
    ),
)
