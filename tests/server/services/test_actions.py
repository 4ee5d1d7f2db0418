"""What agents do with actions, over a real database: pressed, raced, approved, listed (docs/actions.md)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from server.domain.action import State
from server.domain.errors import BadRequest, Conflict, DomainError, IdempotencyConflict, NotFound
from server.domain.transaction import Amount
from server.services.action_definitions import Change, Wanted
from server.storage import people, retention
from tests.server.services.action_stage import Stage, answered, stage_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.domain.action import Action


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with stage_on(database_url) as ready:
        yield ready


async def test_a_press_is_stored_as_it_was_meant(stage: Stage) -> None:
    await stage.define()
    action = await stage.press(version=1)
    assert action.state is State.PENDING
    assert msgspec.json.decode(action.parameters) == {"amount": "5.00"}
    assert action.version == 1
    assert [(event.kind, event.author.name) for event in await stage.thread()] == [("action.updated", "Robin")]
    listed = await stage.world.actions.list_of_conversation(stage.robin, stage.place.conversation_id, None, 10)
    assert [(each.action, each.requested_name) for each in listed] == [(action, "Robin")]


async def test_a_double_press_is_one(stage: Stage) -> None:
    await stage.define()
    pressed = await asyncio.gather(*[stage.press(key="k1") for _ in range(5)])
    assert len({action.action_id for action in pressed}) == 1
    assert len(await stage.thread()) == 1
    with pytest.raises(IdempotencyConflict):
        await stage.press(key="k1", amount="6.00")
    await stage.work()
    # The first answer for good, whatever has become of the definition.
    definition = (await stage.world.action_definitions.list_definitions(stage.app_id, None, 1))[0]
    await stage.world.action_definitions.change(stage.app_id, definition.definition_id, Change(enabled=False))
    assert (await stage.press(key="k1")).action_id == pressed[0].action_id
    await stage.world.action_definitions.delete(stage.app_id, definition.definition_id)
    assert (await stage.press(key="k1")).action_id == pressed[0].action_id
    with pytest.raises(IdempotencyConflict):
        await stage.press(key="k1", amount="6.00")
    assert len(stage.world.outgoing.calls) == 1


async def test_of_two_agents_at_once_one_is_told(stage: Stage) -> None:
    await stage.define()
    outcomes = await asyncio.gather(stage.press(stage.robin), stage.press(stage.sam), return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, Conflict)]
    pressed = [each for each in outcomes if not isinstance(each, BaseException)]
    assert (len(refused), len(pressed)) == (1, 1)
    assert str(pressed[0].action_id) in refused[0].message
    assert await stage.work() == 1


async def test_of_approve_and_reject_at_once_one_holds(stage: Stage) -> None:
    await stage.define(approval="second_agent")
    for _ in range(5):
        action = await stage.press()
        assert await stage.work() == 0
        outcomes = await asyncio.gather(
            stage.world.actions.approve(stage.sam, action.action_id),
            stage.world.actions.reject(stage.chief, action.action_id),
            return_exceptions=True,
        )
        held = [each for each in outcomes if not isinstance(each, BaseException)]
        assert len(held) == 1
        assert sum(isinstance(each, Conflict) for each in outcomes) == 1
        state = (await stage.now(action)).state
        assert state is held[0].action.state
        stage.answers(answered("done"))
        assert await stage.work() == (state is State.PENDING)


async def test_a_transaction_that_changed_is_asked_about_again(stage: Stage) -> None:
    await stage.define(approval="second_agent")
    await stage.ride(2)
    with pytest.raises(Conflict, match="version 2"):
        await stage.press(version=1)
    action = await stage.press(version=2)
    await stage.ride(3)
    with pytest.raises(Conflict, match="version 3"):
        await stage.world.actions.approve(stage.sam, action.action_id)
    approved = await stage.world.actions.approve(stage.sam, action.action_id, version=3)
    assert (approved.action.state, approved.action.version, approved.decided_name) == (State.PENDING, 3, "Sam")
    stage.answers(answered("done"))
    await stage.work()
    assert stage.bodies[0]["transaction"]["version"] == 3
    assert stage.bodies[0]["approved_by"] == {"id": str(stage.sam.agent_id)}


async def test_the_limit_and_the_schema_are_kept(stage: Stage) -> None:
    await stage.define(amount_limit=Amount("10.00", "EUR"), over_limit="approve")
    assert (await stage.press(amount="10.01")).approver == "supervisor"
    for wrong, field in (
        ({"amount": 5}, "parameters.amount"),
        ({"amount": "5", "note": "n" * 51}, "parameters.note"),
        ({"amount": "5", "iban": "x"}, "parameters"),
        ({}, "parameters"),
    ):
        with pytest.raises(BadRequest) as refused:
            await stage.press(parameters=wrong)
        assert refused.value.field == field


async def test_what_is_not_there_or_switched_off_cannot_be_pressed(stage: Stage) -> None:
    with pytest.raises(NotFound):
        await stage.press()
    made = await stage.define(approval="second_agent")
    waiting = await stage.press()
    definitions = stage.world.action_definitions
    await definitions.change(stage.app_id, made.definition.definition_id, Change(enabled=False))
    with pytest.raises(Conflict, match="switched off"):
        await stage.press()
    with pytest.raises(Conflict, match="switched off"):
        await stage.world.actions.approve(stage.sam, waiting.action_id)
    await definitions.delete(stage.app_id, made.definition.definition_id)
    with pytest.raises(NotFound):
        await stage.press()
    assert (await stage.world.actions.reject(stage.sam, waiting.action_id)).action.state is State.REJECTED


async def test_another_apps_agent_and_another_customer(stage: Stage) -> None:
    await stage.define(approval="second_agent")
    action = await stage.press()
    stranger = await stage.world.agent(await stage.world.app("Other"))
    actions = stage.world.actions
    for attempt in (
        stage.press(stranger),
        actions.find(stranger, action.action_id),
        actions.approve(stranger, action.action_id),
        actions.reject(stranger, action.action_id),
        actions.retry(stranger, action.action_id),
        actions.list_of_conversation(stranger, stage.place.conversation_id, None, 10),
        actions.list_actions(stranger, stage.app_id, None, None, 10),
        actions.list_definitions(stranger, stage.app_id, None, 10),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await actions.list_actions(stranger, None, None, None, 10) == []
    somebody = await stage.world.user(stage.app, "somebody")
    theirs = await stage.world.opened(somebody)
    with pytest.raises(NotFound, match="no such transaction"):
        await actions.press(
            stage.robin,
            theirs.conversation_id,
            "refund",
            parameters={"amount": "5"},
            transaction="ride-1",
        )


async def test_lists_by_state_newest_first(stage: Stage) -> None:
    await stage.define(allow_parallel=True)
    pressed: list[Action] = []
    for _ in range(5):
        stage.world.clock.move(1)
        pressed.append(await stage.press())
    stage.answers(answered("done"))
    await stage.work()
    actions = stage.world.actions
    done = await actions.list_actions(stage.robin, stage.app_id, "done", None, 10)
    unknown = await actions.list_actions(stage.robin, None, "unknown", None, 10)
    assert (len(done), len(unknown)) == (1, 4)
    first = await actions.list_actions(stage.robin, None, None, None, 3)
    rest = await actions.list_actions(stage.robin, None, None, first[-1].action.listed_as, 3)
    assert [each.action.action_id for each in first + rest] == [each.action_id for each in pressed[::-1]]


async def test_a_user_who_is_erased_takes_their_actions_along(stage: Stage) -> None:
    await stage.define()
    action = await stage.press()
    (claimed,) = await stage.world.action_calls.claim(10)
    async with stage.world.database.transaction() as tx:
        assert await people.erase(tx, stage.app_id, stage.user.user_id)
    await stage.world.action_calls.ask(claimed)
    assert stage.world.outgoing.calls == []
    with pytest.raises(NotFound):
        await stage.now(action)


async def test_retention_takes_what_was_filled_in_and_keeps_that_it_was_done(stage: Stage) -> None:
    await stage.define(allow_parallel=True)
    action, waiting = await stage.press(), await stage.press(amount="7.00")
    stage.answers(answered("done", message="You get €5 back."), answered("pending"))
    await stage.work()
    await stage.world.conversations.set_status(stage.robin, stage.place.conversation_id, "resolved")
    later = stage.world.clock.now() + timedelta(days=1)
    place = (stage.place.app_id, stage.place.user_id, stage.place.conversation_id)
    assert await retention.trim(stage.world.database, place, later)
    trimmed = await stage.now(action)
    assert (trimmed.parameters, trimmed.transaction, trimmed.message) == (b"{}", None, None)
    assert (trimmed.state, trimmed.requested_by) == (State.DONE, stage.robin.agent_id)
    assert (await stage.now(waiting)).parameters == waiting.parameters


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"type": "string"}, "parameters.type"),
        ({"type": "object", "properties": {"a": {"$ref": "https://evil.example/s"}}}, "parameters.properties.a.$ref"),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}},
            "parameters.properties.a.pattern",
        ),
        ({"type": "object", "allOf": []}, "parameters.allOf"),
        ({"type": "object", "properties": {"a": {}}}, "parameters.properties.a.type"),
        ({"type": "object", "properties": {"a": True}}, "parameters.properties.a"),
        ({"type": "object", "properties": [1]}, "parameters.properties"),
        ({"type": "object", "required": "a"}, "parameters"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "parameters.additionalProperties"),
        ({"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(51)}}, "parameters"),
        ({"type": "object", "description": "d" * 17_000}, "parameters"),
    ],
)
async def test_schemas_that_are_not_taken(stage: Stage, schema: dict[str, object], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        await stage.define(parameters=schema)
    assert refused.value.field == field


async def test_a_schema_is_not_nested_for_ever(stage: Stage) -> None:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(5):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(BadRequest, match="nested"):
        await stage.define(parameters=schema)


async def test_definitions_are_made_once_and_changed(stage: Stage) -> None:
    definitions = stage.world.action_definitions
    wanted = Wanted(name="refund", title="Refund", url="https://a.example/r")
    made = await definitions.create(stage.app_id, wanted, "key")
    again = await definitions.create(stage.app_id, wanted, "key")
    assert (again.repeated, again.secret, again.definition) == (True, made.secret, made.definition)
    refusals: list[tuple[Wanted, str | None, type[DomainError]]] = [
        (Wanted(name="refund", title="Other", url="https://a.example/r"), "key", IdempotencyConflict),
        (wanted, None, Conflict),
        (Wanted(name="x", title="X", url="http://a.example/"), None, BadRequest),
        (Wanted(name="x", title="X", url="https://127.0.0.1/"), None, BadRequest),
        (Wanted(name="x", title="X", url="https://a.example/", amount_limit=Amount("-1", "EUR")), None, BadRequest),
    ]
    for refused, key, error in refusals:
        with pytest.raises(error):
            await definitions.create(stage.app_id, refused, key)
    changed = await definitions.change(stage.app_id, made.definition.definition_id, Change(title="Give back"))
    assert (changed.title, changed.url) == ("Give back", "https://a.example/r")
    assert await definitions.find(stage.app_id, made.definition.definition_id) == changed
    other = await stage.world.app("Other")
    for attempt in (
        definitions.find(other.app.app_id, changed.definition_id),
        definitions.change(other.app.app_id, changed.definition_id, Change(enabled=False)),
        definitions.rotate_secret(other.app.app_id, changed.definition_id),
        definitions.delete(other.app.app_id, changed.definition_id),
    ):
        with pytest.raises(NotFound):
            await attempt
