"""`/admin/v1/agents`: who works for an app."""

from uuid import UUID

from admin_api.examples import MEMBER, page
from admin_api.operations import Answer, Answered, Call, Door, Operation
from admin_api.parameters import Nothing, Parameters
from admin_api.records import MemberPage
from admin_api.translate import member_record


class OfApp(Parameters, kw_only=True, frozen=True):
    app: UUID


async def list_members(call: Call[Nothing, OfApp, None]) -> Answer:
    call.agent.require(call.query.app)
    members = await call.doors.services.agents.members(call.query.app)
    return Answer(200, MemberPage(items=[member_record(*member) for member in members], next_cursor=None))


OPERATIONS = (
    Operation(
        method="GET",
        path="/admin/v1/agents",
        id="list_agents",
        summary="List an app's agents",
        description="Whom a conversation can be assigned to.",
        tag="agents",
        door=Door.AGENT,
        handler=list_members,
        query=OfApp,
        answers={200: Answered("All of them, by name.", MemberPage, page(MEMBER))},
        errors=(404,),
    ),
)
