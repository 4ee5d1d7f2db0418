"""From a press to an app's server and back: what is sent, when again, what comes of each answer (docs/actions.md)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from standardwebhooks import Webhook

from server.clock import SystemClock
from server.domain.action import PAUSES_S, State
from server.outgoing.interface import Answered, Outcome, Refused, Unreachable
from server.outgoing.signing import signature_headers
from server.services.action_calls import LEASE
from tests.server.services.action_stage import URL, Stage, answered, stage_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.outgoing.interface import Call

TIMEOUT = Unreachable(reason="no answer within 30 s", sent=True)
COUPON = {"code": "SORRY5", "description": "€5 off your next ride", "amount": "5.00", "currency": "EUR"}
DAY = 86_400.0


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with stage_on(database_url) as ready:
        yield ready


async def test_a_call_says_everything_and_is_signed(stage: Stage) -> None:
    made = await stage.define()
    action = await stage.press()
    stage.answers(answered("done", message="You get €5 back."))
    assert await stage.work() == 1
    (call,) = stage.world.outgoing.calls
    key = str(action.action_id)
    assert (call.url, call.id, call.headers, call.within_s) == (URL, key, {"Idempotency-Key": key}, 30.0)
    assert msgspec.json.decode(call.body) == {
        "id": key,
        "action": "refund",
        "app": str(stage.app_id),
        "conversation": str(stage.place.conversation_id),
        "user": {"id": str(stage.user.user_id), "external_id": "blanca"},
        "transaction": {
            "id": "ride-1",
            "version": 1,
            "kind": "ride",
            "status": "completed",
            "amount": {"value": "12.50", "currency": "EUR"},
        },
        "parameters": {"amount": "5.00"},
        "requested_by": {"id": str(stage.robin.agent_id)},
    }
    headers = signature_headers(call.id, SystemClock().now(), call.body, call.secrets)
    assert Webhook(made.secret).verify(call.body, headers)
    done = await stage.now(action)
    assert (done.state, done.attempts, done.due_at, done.claim, done.status) == (State.DONE, 1, None, None, 200)
    assert await stage.told() == [("pending", None), ("done", "You get €5 back.")]
    assert await stage.pass_time(30 * DAY) == 0


async def test_after_a_rotation_both_secrets_sign(stage: Stage) -> None:
    old = await stage.define(allow_parallel=True)
    stage.world.clock.move(0.001)  # ids of one millisecond are in no order
    new = await stage.world.action_definitions.rotate_secret(stage.app_id, old.definition.definition_id)
    await stage.press()
    await stage.work()
    assert [secret.reveal() for secret in stage.world.outgoing.calls[0].secrets] == [new.secret, old.secret]
    stage.world.clock.move(DAY + 1)
    await stage.press()
    await stage.work()
    assert [secret.reveal() for secret in stage.world.outgoing.calls[-1].secrets] == [new.secret]


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (TIMEOUT, "no answer within 30 s"),
        (Answered(status=500), "it answered 500"),
        (Answered(status=400, body=b'{"state": "failed"}'), "it answered 400"),
        (Answered(status=307), "it answered 307: redirects are not followed"),
        (Refused(reason="not a public address"), "not called: not a public address"),
        (Answered(status=200, body=b""), "not as agreed: it is not JSON"),
        (Answered(status=200, body=b"\xff"), "not as agreed: it is not JSON"),
        (Answered(status=200, body=b'{"state": "ok"}'), "not as agreed: Invalid enum value"),
        (Answered(status=200, body=b'{"state": "done"}', truncated=True), "with more than is read"),
        (answered("done", message="m" * 1001), "not as agreed"),
        (answered("done", message="a\x00b"), "U+0000"),
        (answered("done", coupon={"description": "no code"}), "not as agreed"),
        (answered("done", coupon=COUPON | {"url": "javascript:alert(1)"}), "not as agreed"),
        (answered("done", coupon={"code": "A", "description": "€5 off", "amount": "5"}), "needs a currency"),
        (answered("done", coupon=COUPON | {"expires_at": "soon"}), "not as agreed"),
        (answered("done", transaction={"status": "refunded"}), "not as agreed"),
    ],
)
async def test_what_is_no_answer_is_not_known(stage: Stage, outcome: Outcome, error: str) -> None:
    await stage.define()
    action = await stage.press()
    stage.answers(outcome, answered("done"))
    assert await stage.work() == 1
    seen = await stage.now(action)
    assert seen.state is State.UNKNOWN
    assert error in str(seen.error)
    assert await stage.told() == [("pending", None)]
    assert await stage.pass_time(1.9) == 0
    assert await stage.pass_time(0.2) == 1
    first, second = stage.world.outgoing.calls
    assert (first.id, first.body, first.headers) == (second.id, second.body, second.headers)
    settled = await stage.now(action)
    assert (settled.state, settled.error) == (State.DONE, None)


async def test_three_days_then_a_person_must(stage: Stage) -> None:
    await stage.define()
    action = await stage.press()
    stage.world.outgoing.judge = lambda _call: TIMEOUT
    assert await stage.work() == 1
    for pause in PAUSES_S:
        assert await stage.pass_time(pause - 0.01) == 0
        assert await stage.pass_time(0.01) == 1
    calls = 0
    for _ in range(4 * 24):
        calls += await stage.pass_time(3600)
    assert 65 < calls < 75
    tired = await stage.now(action)
    assert (tired.state, tired.due_at, tired.error) == (State.UNKNOWN, None, TIMEOUT.reason)
    listed = await stage.world.actions.list_actions(stage.chief, None, "unknown", None, 10)
    assert [each.action.action_id for each in listed] == [action.action_id]

    stage.world.outgoing.judge = None
    stage.answers(TIMEOUT, answered("done"))
    await stage.world.actions.retry(stage.sam, action.action_id)
    assert await stage.work() == 1
    assert await stage.pass_time(2) == 1
    assert (await stage.now(action)).state is State.DONE
    assert len({call.id for call in stage.world.outgoing.calls}) == 1


async def test_an_app_that_takes_its_time(stage: Stage) -> None:
    await stage.define()
    action = await stage.press()
    stage.answers(answered("pending", message="We are on it."), answered("pending", message="We are on it."))
    await stage.work()
    assert await stage.pass_time(2) == 1
    assert (await stage.now(action)).state is State.PENDING
    stage.answers(answered("failed", message="The driver has been paid already."))
    assert await stage.pass_time(5) == 1
    assert await stage.told() == [
        ("pending", None),
        ("pending", "We are on it."),
        ("failed", "The driver has been paid already."),
    ]


async def test_retry_after_is_kept(stage: Stage) -> None:
    await stage.define()
    await stage.press()
    stage.answers(Answered(status=503, retry_after=60.0), answered("done"))
    await stage.work()
    assert await stage.pass_time(59) == 0
    assert await stage.pass_time(1) == 1


async def test_a_coupon_is_a_card_and_a_newer_transaction_is_taken(stage: Stage) -> None:
    await stage.define()
    await stage.world.messaging.mark_read(stage.place, "user", stage.user.author, 1)
    action = await stage.press()
    refunded = {"version": 2, "kind": "ride", "status": "refunded"}
    stage.answers(answered("done", message="Sorry!", coupon=COUPON, transaction=refunded, note="not ours"))
    await stage.work()
    assert await stage.told() == ["receipt", ("pending", None), "coupon", ("done", "Sorry!")]
    card = next(event for event in await stage.thread() if event.kind == "message")
    assert msgspec.json.decode(card.body) == COUPON | {"kind": "coupon"}
    assert card.author.name == "Robin"
    found = await stage.world.context.list_transactions(stage.app_id, "blanca", 5)
    assert [(each.version, each.status) for _, each in found] == [(2, "refunded")]
    assert (await stage.now(action)).version == 1


async def test_what_comes_again_is_not_written_again(stage: Stage) -> None:
    """Two workers got the same answer, because one was slow to write it down."""
    await stage.define()
    action = await stage.press()
    calls = stage.world.action_calls
    stage.answers(*[answered("done", coupon=COUPON, transaction={"version": 2})] * 2)
    (slow,) = await calls.claim(10)

    async def meanwhile(_call: Call) -> None:
        stage.world.outgoing.before = None
        stage.world.clock.move(LEASE.total_seconds() + 1)
        assert await stage.work() == 1

    stage.world.outgoing.before = meanwhile
    await calls.ask(slow)
    assert len(stage.world.outgoing.calls) == 2
    assert await stage.told() == [("pending", None), "coupon", ("done", None)]
    assert (await stage.now(action)).attempts == 1


async def test_a_late_answer_does_not_undo_a_later_one(stage: Stage) -> None:
    await stage.define()
    action = await stage.press()
    (slow,) = await stage.world.action_calls.claim(10)

    async def meanwhile(_call: Call) -> None:
        stage.world.outgoing.before = None
        stage.answers(answered("done"), TIMEOUT)
        stage.world.clock.move(LEASE.total_seconds() + 1)
        await stage.work()

    stage.world.outgoing.before = meanwhile
    await stage.world.action_calls.ask(slow)
    assert (await stage.now(action)).state is State.DONE


async def test_what_is_claimed_is_nobody_elses_until_the_lease_ends(stage: Stage) -> None:
    await stage.define()
    await stage.press()
    calls = stage.world.action_calls
    (first,) = await calls.claim(10)
    assert await calls.claim(10) == []
    assert await calls.oldest_age() == 0.0
    stage.world.clock.move(LEASE.total_seconds() + 3)
    assert await calls.oldest_age() == pytest.approx(3.0)
    assert await stage.world.health.reasons() == {}
    stage.world.clock.move(60)
    assert "nobody works on it" in (await stage.world.health.reasons())["actions"]
    assert await calls.claim(10, [first.definition_id]) == []
    (second,) = await calls.claim(10)
    assert (second.action_id, second.token != first.token) == (first.action_id, True)
    await calls.ask(first)
    assert stage.world.outgoing.calls == []


async def test_an_app_that_is_slow_is_not_our_illness(stage: Stage) -> None:
    """Its other actions wait while some are under way: a worker is there."""
    await stage.define(allow_parallel=True)
    await stage.press()
    stage.world.clock.move(1)
    await stage.press()
    stage.world.clock.move(61)
    assert "actions" in await stage.world.health.reasons()
    assert len(await stage.world.action_calls.claim(1)) == 1
    assert await stage.world.health.reasons() == {}


async def test_a_webhook_hears_what_the_customer_hears(stage: Stage) -> None:
    await stage.world.webhooks.create(stage.app_id, "https://hooks.example/", ["action.updated"], None)
    await stage.define(approval="second_agent")
    action = await stage.press(amount="4.98")
    await stage.world.actions.approve(stage.sam, action.action_id)
    stage.answers(TIMEOUT, answered("done", message="There you are."))
    await stage.work()
    await stage.pass_time(timedelta(seconds=2).total_seconds())
    stage.world.outgoing.calls.clear()
    delivery = stage.world.webhook_delivery
    while lanes := await delivery.claim(10, busy={}, per_endpoint=10):
        for lane in lanes:
            await delivery.deliver(lane)
    heard: list[Any] = [body["data"]["event"]["body"]["action"] for body in stage.bodies]
    assert [(each["state"], each.get("message")) for each in heard] == [("pending", None), ("done", "There you are.")]
    assert b"4.98" not in b"".join(call.body for call in stage.world.outgoing.calls)
