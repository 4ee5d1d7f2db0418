"""From an event to an app's server: what is sent, in which order, when again, and when no more (docs/webhooks.md)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from standardwebhooks import Webhook

from sdk_protocol import frames
from server.clock import SystemClock
from server.domain.webhook import LONGEST_RETRY_AFTER_S, PAUSES_S
from server.outgoing.interface import Answered, Outcome, Refused, Unreachable
from server.outgoing.signing import signature_headers
from server.services.webhooks import Wish
from tests.server.services.webhook_stage import DAY, DOWN, URL, Stage, stage_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.outgoing.interface import Call

ANSWERS_500 = Answered(status=500)


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with stage_on(database_url) as ready:
        yield ready


async def test_every_kind_of_event_is_delivered_as_on_the_wire(stage: Stage) -> None:
    made = await stage.endpoint()
    world = stage.world
    agent = await world.agent(stage.app)
    place = await world.opened(stage.user, "Where is my umbrella?", topic="lost_item")
    await world.conversations.assign(agent, place.conversation_id, agent.agent_id)
    await world.conversations.set_status(agent, place.conversation_id, "resolved")
    await world.messaging.rate(place, stage.user.author, 5, "quick!")
    await stage.deliver()

    assert [body["type"] for body in stage.bodies] == [
        "conversation.opened",
        "message.created",
        "conversation.assigned",
        "conversation.status",
        "rating.given",
    ]
    for call, body in zip(stage.calls, stage.bodies, strict=True):
        assert call.url == URL
        assert body["id"] == call.id
        assert body["app"] == str(stage.app_id)
        assert body["data"]["conversation"] == str(place.conversation_id)
        assert body["data"]["user"] == {"id": str(stage.user.user_id), "external_id": "blanca"}
        event = msgspec.convert(body["data"]["event"], frames.Event)
        assert body["created_at"] == event.at
        assert event.usn
    assert stage.bodies[1]["data"]["event"]["body"] == {"kind": "text", "text": "Where is my umbrella?"}
    assert [each.state for each in await stage.deliveries(made)] == ["delivered"] * 5


async def test_only_what_is_wanted(stage: Stage) -> None:
    await stage.endpoint("conversation.opened", "rating.given")
    await stage.say(await stage.opened("hello"), "are you there?")
    await stage.deliver()
    assert [body["type"] for body in stage.bodies] == ["conversation.opened"]


async def test_notes_and_receipts_never_leave(stage: Stage) -> None:
    await stage.endpoint()
    world, place = stage.world, await stage.opened("hello")
    await world.messaging.note(place, world.message(world.agent_author, "a difficult customer"))
    await world.messaging.mark_read(place, "agent", world.agent_author, 2)
    await world.say(place, world.agent_author, "Good morning!")
    await stage.deliver()
    assert stage.texts == ["hello", "Good morning!"]
    assert b"difficult" not in b"".join(call.body for call in stage.calls)
    assert "note" not in {body["data"]["event"]["kind"] for body in stage.bodies}


async def test_apps_do_not_hear_of_each_other(stage: Stage) -> None:
    world = stage.world
    await stage.endpoint(url="https://kestrel.example/")
    other = await world.app("Other")
    await world.webhooks.create(other.app.app_id, "https://other.example/", ["message.created"], None)
    stranger = await world.user(other, "blanca")
    await world.opened(stranger, "of the other app")
    await stage.opened("of Kestrel")
    await stage.deliver()
    assert {(call.url, body["app"]) for call, body in zip(stage.calls, stage.bodies, strict=True)} == {
        ("https://kestrel.example/", str(stage.app_id)),
        ("https://other.example/", str(other.app.app_id)),
    }
    for call in stage.calls:
        assert (b"of Kestrel" in call.body) <= ("kestrel" in call.url)
        assert (b"of the other app" in call.body) <= ("other" in call.url)


async def test_two_endpoints_get_the_same_id(stage: Stage) -> None:
    await stage.endpoint("message.created", url="https://one.example/")
    await stage.endpoint("message.created", url="https://two.example/")
    await stage.say(await stage.opened(), "hello")
    await stage.deliver()
    assert {call.url for call in stage.calls} == {"https://one.example/", "https://two.example/"}
    assert len({call.id for call in stage.calls}) == 1


async def test_a_call_is_signed_with_the_secret_that_was_shown(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "hello")
    await stage.deliver()
    (call,) = stage.calls
    assert [secret.reveal() for secret in call.secrets] == [made.secret]


async def test_a_replaced_secret_signs_on_for_a_day(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    place = await stage.opened()
    new = await stage.world.webhooks.rotate_secret(stage.app_id, made.endpoint.endpoint_id)
    await stage.say(place, "one")
    await stage.deliver()
    headers = signature_headers(stage.calls[0].id, SystemClock().now(), stage.calls[0].body, stage.calls[0].secrets)
    for secret in (made.secret, new.secret):
        assert Webhook(secret).verify(stage.calls[0].body, headers)["type"] == "message.created"
    stage.world.clock.move(DAY + 1)
    await stage.say(place, "two")
    await stage.deliver()
    assert [secret.reveal() for secret in stage.calls[1].secrets] == [new.secret]


async def test_a_conversation_keeps_its_order_and_does_not_wait_for_others(stage: Stage) -> None:
    await stage.endpoint("message.created")
    first, second = await stage.opened(), await stage.opened()
    await stage.say(first, "a1", "a2", "a3")
    await stage.say(second, "b1", "b2")

    def only_a1_fails(call: Call) -> Outcome | None:
        return ANSWERS_500 if b'"a1"' in call.body else None

    stage.world.outgoing.judge = only_a1_fails
    await stage.deliver()
    assert [text for text in stage.texts if text.startswith("a")] == ["a1"]
    assert [text for text in stage.texts if text.startswith("b")] == ["b1", "b2"]
    stage.world.outgoing.judge = None
    stage.calls.clear()
    await stage.pass_time(PAUSES_S[0])
    assert stage.texts == ["a1", "a2", "a3"]


async def test_what_comes_while_a_call_is_under_way_is_not_forgotten(stage: Stage) -> None:
    await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, "one")

    async def meanwhile(call: Call) -> None:
        if b'"one"' in call.body:
            await stage.say(place, "two", "three")

    stage.world.outgoing.before = meanwhile
    await stage.deliver()
    assert stage.texts == ["one", "two", "three"]


async def test_tries_again_and_again_over_three_days(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "hello")
    stage.world.outgoing.judge = lambda call: ANSWERS_500 if b"hello" in call.body else None
    await stage.deliver()
    for number, pause in enumerate(PAUSES_S, 1):
        assert len(stage.calls) == number
        assert await stage.pass_time(pause - 1) == 0
        (waiting,) = await stage.deliveries(made, "pending")
        assert (waiting.attempts, waiting.status, waiting.error) == (number, 500, "it answered 500")
        assert waiting.next_at == stage.world.clock.now() + timedelta(seconds=1)
        await stage.forget_failures()
        assert await stage.pass_time(1) == 1
    await stage.forget_failures()
    assert await stage.pass_time(3 * DAY - sum(PAUSES_S) - 1) == 0
    assert await stage.pass_time(1) == 1
    (dead,) = await stage.deliveries(made, "dead")
    assert (dead.attempts, dead.error, dead.next_at) == (len(PAUSES_S) + 2, "it answered 500", None)
    assert sum(PAUSES_S) == pytest.approx(3 * DAY, rel=0.01)
    assert len({call.id for call in stage.calls}) == 1
    assert len({call.body for call in stage.calls}) == 1
    assert await stage.pass_time(30 * DAY) == 0


async def test_a_dead_one_lets_the_next_pass_and_can_be_replayed(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, "poison", "after it")
    stage.world.outgoing.judge = lambda call: Answered(status=400) if b"poison" in call.body else None
    await stage.deliver()
    for pause in (*PAUSES_S, 3 * DAY - sum(PAUSES_S)):
        await stage.forget_failures()
        await stage.pass_time(pause)
    assert stage.texts[-2:] == ["poison", "poison"]
    assert await stage.pass_time(PAUSES_S[0]) == 1
    assert stage.texts[-1] == "after it"

    (dead,) = await stage.deliveries(made, "dead")
    stage.world.outgoing.judge = None
    again = await stage.world.webhooks.replay(stage.app_id, made.endpoint.endpoint_id, dead.event_id)
    assert (again.state, again.attempts) == ("pending", 0)
    stage.calls.clear()
    await stage.deliver()
    assert stage.texts == ["poison"]
    assert stage.calls[0].id == str(dead.event_id)
    assert [each.state for each in await stage.deliveries(made)] == ["delivered", "delivered"]


async def test_what_was_delivered_can_be_replayed_too(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, "one", "two")
    await stage.deliver()
    one, _ = await stage.deliveries(made)
    await stage.world.webhooks.replay(stage.app_id, made.endpoint.endpoint_id, one.event_id)
    await stage.say(place, "three")
    await stage.deliver()
    assert stage.texts == ["one", "two", "one", "three"]


async def test_replaying_what_waits_tries_it_now(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "one")
    stage.world.outgoing.answers = [DOWN] * 3
    for pause in (0, *PAUSES_S[:2]):
        await stage.pass_time(pause)
    (waiting,) = await stage.deliveries(made, "pending")
    again = await stage.world.webhooks.replay(stage.app_id, made.endpoint.endpoint_id, waiting.event_id)
    assert again.state == "pending"
    assert await stage.deliver() == 1
    assert stage.texts == ["one"] * 4


@pytest.mark.parametrize(
    ("outcome", "status", "error"),
    [
        (Answered(status=302), 302, "it answered 302: redirects are not followed"),
        (Answered(status=404), 404, "it answered 404"),
        (Answered(status=100), 100, "it answered 100"),
        (DOWN, None, "no connection"),
        (Unreachable(reason="no answer within 15 s", sent=True), None, "no answer within 15 s"),
        (
            Refused(reason="10.0.0.1 is not a public address (private)"),
            None,
            "not called: 10.0.0.1 is not a public address (private)",
        ),
    ],
)
async def test_whatever_is_no_2xx_is_tried_again(
    stage: Stage, outcome: Outcome, status: int | None, error: str
) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "hello")
    stage.world.outgoing.answers = [outcome]
    await stage.deliver()
    (waiting,) = await stage.deliveries(made, "pending")
    assert (waiting.status, waiting.error) == (status, error)
    assert await stage.pass_time(PAUSES_S[0]) == 1
    (done,) = await stage.deliveries(made, "delivered")
    assert (done.status, done.error, done.attempts) == (204, None, 2)


@pytest.mark.parametrize(
    ("asked", "waits"), [(1.0, PAUSES_S[0]), (120.0, 120.0), (10 * DAY, LONGEST_RETRY_AFTER_S), (0.0, PAUSES_S[0])]
)
async def test_retry_after_is_kept_within_bounds(stage: Stage, asked: float, waits: float) -> None:
    await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "hello")
    stage.world.outgoing.answers = [Answered(status=503, retry_after=asked)]
    await stage.deliver()
    assert await stage.pass_time(waits - 0.5) == 0
    assert await stage.pass_time(0.5) == 1


@pytest.mark.parametrize(("status", "others_wait"), [(429, True), (503, True), (500, False)])
async def test_an_endpoint_that_asks_for_time_gets_it_for_all_conversations(
    stage: Stage, status: int, others_wait: bool
) -> None:
    await stage.endpoint("message.created")
    first, second = await stage.opened(), await stage.opened()
    await stage.say(first, "one")
    stage.world.outgoing.answers = [Answered(status=status, retry_after=60.0)]
    await stage.deliver()
    await stage.say(second, "two")
    assert (await stage.deliver() == 0) is others_wait
    await stage.pass_time(60)
    assert sorted(stage.texts) == ["one", "one", "two"]


async def test_gone_is_gone(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, "one", "two")
    stage.world.outgoing.answers = [Answered(status=410)]
    await stage.deliver()
    assert await stage.pass_time(DAY) == 0
    found = await stage.world.webhooks.find(stage.app_id, made.endpoint.endpoint_id)
    assert (found.enabled, found.reason) == (False, "It answered 410 Gone.")
    await stage.say(place, "while it is off")

    await stage.world.webhooks.change(stage.app_id, made.endpoint.endpoint_id, Wish(enabled=True))
    await stage.say(place, "three")
    await stage.deliver()
    assert stage.texts == ["one", "one", "two", "three"]


async def test_an_endpoint_that_fails_for_a_day_is_paused_and_nothing_is_lost(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, "one")
    stage.world.outgoing.judge = lambda _: DOWN
    for _ in range(70):
        await stage.pass_time(1800)
    before = len(stage.calls)
    assert await stage.pass_time(2 * DAY) == 0
    found = await stage.world.webhooks.find(stage.app_id, made.endpoint.endpoint_id)
    assert found.enabled
    assert found.paused_at is not None
    assert "no connection" in str(found.reason)
    stage.world.outgoing.judge = None
    await stage.say(place, "two")
    assert await stage.pass_time(DAY) == 0
    assert len(stage.calls) == before

    resumed = await stage.world.webhooks.change(stage.app_id, made.endpoint.endpoint_id, Wish(enabled=True))
    assert (resumed.paused_at, resumed.reason, resumed.failing_since) == (None, None, None)
    await stage.deliver()
    assert stage.texts[before:] == ["one", "two"]


async def test_one_success_in_a_day_keeps_it_going(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    bad, good = await stage.opened(), await stage.opened()
    await stage.say(bad, "poison")
    stage.world.outgoing.judge = lambda call: ANSWERS_500 if b"poison" in call.body else None
    for _ in range(6):
        await stage.say(good, "fine")
        for _ in range(12):
            await stage.pass_time(3600)
    found = await stage.world.webhooks.find(stage.app_id, made.endpoint.endpoint_id)
    assert found.paused_at is None
    assert stage.texts.count("fine") == 6


async def test_a_dead_endpoint_costs_little(stage: Stage) -> None:
    """Forty conversations are due, and it is down: a handful of calls find out, then one at a time, far apart."""
    await stage.endpoint("message.created")
    for _ in range(40):
        await stage.say(await stage.opened(), "hello")
    stage.world.outgoing.judge = lambda _: DOWN
    lanes = await stage.claim(per_endpoint=5)
    for lane in lanes:
        await stage.world.webhook_delivery.deliver(lane)
    assert len(stage.calls) == 5
    assert await stage.claim() == []
    for _ in range(10):
        stage.world.clock.move(30)
        lanes = await stage.claim()
        assert len(lanes) == 1
        await stage.world.webhook_delivery.deliver(lanes[0])


async def test_those_who_waited_behind_a_dead_one_get_a_try_of_their_own(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, "one", "two")
    stage.world.outgoing.judge = lambda call: ANSWERS_500 if b'"one"' in call.body or b'"two"' in call.body else None
    other = await stage.opened()
    for number in range(100):
        await stage.say(other, f"other {number}")
        await stage.pass_time(3600)
    assert [each.attempts for each in await stage.deliveries(made, "dead")] == [len(PAUSES_S) + 1, 1]
