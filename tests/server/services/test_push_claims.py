"""Whose claim on a push it is (docs/push.md): one worker's at a time, and nobody's for a device that changed hands."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import pytest

from push.sender import ConfigFault, Rejected, Retry, Sent, TokenGone
from server.services.notifications import Notifications
from server.services.people import Facts
from server.telemetry import get_logger
from tests.support.services import PUSH_LEASE

if TYPE_CHECKING:
    from push.sender import Outcome
    from tests.server.services.phone import Phone


def second_worker(phone: Phone) -> Notifications:
    """Another process with the same database."""
    return Notifications(
        phone.world.database,
        {"fcm": phone.sender},
        phone.world.clock,
        phone.world.metrics,
        get_logger("tests"),
        lease=PUSH_LEASE,
        preview=True,
    )


async def test_two_workers_never_hold_one_claim(phone: Phone) -> None:
    world = phone.world
    for number in range(20):
        await world.device(phone.user, f"token {number}")
    await phone.hear()
    workers = [world.notifications, second_worker(phone), second_worker(phone)]
    claims = [claim for part in await asyncio.gather(*(worker.claim(5) for worker in workers * 2)) for claim in part]
    assert len(claims) == len({claim.device_id for claim in claims}) <= 21
    rest = await world.notifications.claim(100)
    assert len(claims) + len(rest) == 21
    assert await world.notifications.claim(100) == []


async def test_a_claim_comes_free_when_its_worker_is_gone(phone: Phone) -> None:
    await phone.hear()
    (lost,) = await phone.world.notifications.claim(1)
    phone.world.clock.move(PUSH_LEASE.total_seconds() - 0.1)
    assert await phone.world.notifications.claim(1) == []
    phone.world.clock.move(0.1)
    (found,) = await second_worker(phone).claim(1)
    assert found.attempts == lost.attempts + 1
    await phone.world.notifications.deliver(lost)
    assert phone.sender.asked == [], "a stale claim sends nothing"
    await second_worker(phone).deliver(found)
    assert len(phone.sender.asked) == 1


@pytest.mark.parametrize(
    "late",
    [Sent("m"), Retry("503"), Rejected("400"), TokenGone("404"), ConfigFault("401")],
    ids=lambda late: type(late).__name__,
)
async def test_who_answers_after_the_lease_changes_nothing(phone: Phone, late: Outcome) -> None:
    await phone.hear()
    (first,) = await phone.world.notifications.claim(1)
    phone.sender.hold = True
    phone.sender.answers = deque([late])
    slow = asyncio.create_task(phone.world.notifications.deliver(first))
    await phone.sender.waiting.wait()
    phone.world.clock.move(PUSH_LEASE.total_seconds())
    (second,) = await second_worker(phone).claim(1)
    before = await phone.state()
    phone.sender.release.set()
    await slow
    assert await phone.state() == before
    phone.sender.hold = False
    await second_worker(phone).deliver(second)
    state = await phone.state()
    expected = (3, "accepted") if not isinstance(late, TokenGone) else (0, "no push token")
    assert (state.sent_seq, state.outcome) == expected


async def test_what_came_while_it_was_sent_stays_pending(phone: Phone) -> None:
    await phone.hear("first")
    phone.sender.meanwhile = lambda: phone.hear("second")
    assert await phone.work() == 1
    phone.sender.meanwhile = None
    state = await phone.state()
    assert (state.sent_seq, state.want_seq) == (3, 4)
    assert await phone.work() == 1
    assert phone.sender.asked[1].notification.body == "second"


async def test_a_push_prepared_for_the_last_owner_is_void(phone: Phone) -> None:
    """Nothing for Ada reaches the phone after it has become Ben's, however far its push had come."""
    await phone.hear("only for Ada")
    (claim,) = await phone.world.notifications.claim(1)
    await phone.world.people.put(phone.user.app_id, "ben", Facts())
    ben = await phone.world.people.find(phone.user.app_id, "ben")
    await phone.world.device(ben, "t1", device_id=phone.device)
    await phone.world.notifications.deliver(claim)
    await phone.hear("still only for Ada")
    assert await phone.work() == 0
    # And back again: what was wanted in her first time is not for her second one either.
    await phone.world.device(phone.user, "t1", device_id=phone.device)
    await phone.world.notifications.deliver(claim)
    assert phone.sender.asked == []


async def test_logging_out_stops_what_is_on_its_way(phone: Phone) -> None:
    await phone.hear()
    (claim,) = await phone.world.notifications.claim(1)
    await phone.world.people.log_out(phone.user.app_id, phone.user.user_id, phone.device)
    await phone.world.notifications.deliver(claim)
    assert phone.sender.asked == []


async def test_an_erased_user_is_not_pushed_to(phone: Phone) -> None:
    await phone.hear()
    (claim,) = await phone.world.notifications.claim(1)
    await phone.world.people.erase(phone.user.app_id, "ada")
    await phone.world.notifications.deliver(claim)
    assert phone.sender.asked == []


async def test_how_long_the_oldest_waits(phone: Phone) -> None:
    assert await phone.world.notifications.oldest_age() == 0.0
    await phone.hear()
    phone.world.clock.move(61)
    assert await phone.world.notifications.oldest_age() == pytest.approx(61)
    assert "due for 61 s" in (await phone.world.health.reasons())["push"]
    await phone.work()
    assert await phone.world.notifications.oldest_age() == 0.0


async def test_outcomes_are_counted(phone: Phone) -> None:
    await phone.hear()
    await phone.work(Retry("503"))
    phone.world.clock.move(2)
    await phone.work()
    page = phone.world.metrics.render().decode()
    assert 'deskbell_push_outcomes_total{outcome="retry",provider="fcm"} 1.0' in page
    assert 'deskbell_push_outcomes_total{outcome="sent",provider="fcm"} 1.0' in page


async def test_a_mistake_of_the_sender_leaves_the_claim_to_its_lease(phone: Phone) -> None:
    await phone.hear()
    with pytest.raises(RuntimeError):
        await phone.work(RuntimeError("closed"))
    assert await phone.work() == 0
    phone.world.clock.move(PUSH_LEASE.total_seconds())
    assert await phone.work() == 1
