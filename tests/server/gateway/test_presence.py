"""Signals about the desk: how many are there, and where one stands in the queue. Leases, never truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from sdk_protocol import frames
from sdk_protocol.bodies import Text
from server.bus.interface import AgentsHere, Channel, Hint, WhoIsHere, presence_channel
from server.gateway.presence import Presence
from server.gateway.queue import Queue
from server.services.waiting import percentiles
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.server.gateway.phone import Desk, House, Phone

APP, ROBIN, SAM = UUID(int=1), UUID(int=2), UUID(int=3)


class Wire:
    """A bus between two views of presence that delivers when told to, or loses."""

    def __init__(self) -> None:
        self.published: list[tuple[Channel, Hint]] = []
        self.subscribed: set[Channel] = set()

    def publish(self, hints: Sequence[tuple[Channel, Hint]]) -> None:
        self.published += hints

    def subscribe(self, channel: Channel) -> None:
        self.subscribed.add(channel)

    def unsubscribe(self, channel: Channel) -> None:
        self.subscribed.discard(channel)

    def carry(self, to: Presence) -> None:
        taken, self.published = self.published, []
        for _, hint in taken:
            assert isinstance(hint, AgentsHere | WhoIsHere)
            to.receive(hint)


def view(wire: Any, clock: FakeClock, node: str) -> tuple[Presence, list[int]]:
    presence = Presence(wire, clock, node)
    told: list[int] = []
    presence.changed = lambda _app, count: told.append(count)
    return presence, told


def test_agents_are_counted_once_wherever_they_are() -> None:
    clock, here, there = FakeClock(), Wire(), Wire()
    one, told_one = view(here, clock, "one")
    two, told_two = view(there, clock, "two")
    one.arrive(APP, ROBIN)
    one.arrive(APP, ROBIN)
    here.carry(two)
    two.arrive(APP, ROBIN)
    two.arrive(APP, SAM)
    there.carry(one)

    assert (one.count(APP), two.count(APP)) == (2, 2)
    one.leave(APP, ROBIN)
    assert one.count(APP) == 2
    one.leave(APP, ROBIN)
    here.carry(two)
    two.leave(APP, ROBIN)
    there.carry(one)
    assert (one.count(APP), two.count(APP)) == (1, 1)
    assert told_one == [1, 2, 1]
    assert told_two == [1, 2, 1]


def test_what_a_dead_node_said_lapses() -> None:
    clock, here, there = FakeClock(), Wire(), Wire()
    one, _ = view(here, clock, "one")
    two, told = view(there, clock, "two")
    one.arrive(APP, ROBIN)
    here.carry(two)
    for _ in range(5):
        clock.move(20)
        one.tick()
        here.carry(two)
        two.tick()
    assert two.count(APP) == 1
    for _ in range(4):
        clock.move(20)
        two.tick()
    assert two.count(APP) == 0
    assert told == [1, 0]


def test_a_node_with_new_customers_asks() -> None:
    clock, here, there = FakeClock(), Wire(), Wire()
    one, _ = view(here, clock, "one")
    two, told = view(there, clock, "two")
    one.arrive(APP, ROBIN)
    here.published.clear()
    two.listen(APP)
    two.listen(APP)
    assert there.published == [(presence_channel(APP), WhoIsHere(APP))]
    there.carry(one)
    here.carry(two)
    assert told == [1]
    two.unlisten(APP)
    assert there.subscribed == {presence_channel(APP)}
    two.unlisten(APP)
    assert there.subscribed == set()


async def counts(phone: Phone) -> list[Any]:
    return [signal.agents_online for signal in phone.all(frames.Signal) if signal.kind == "presence"]


async def test_a_customer_sees_agents_come_and_go(house: House) -> None:
    phone = await house.phone()
    robin, sam = await house.desk(), await house.desk("sam@example.com")
    again = await house.desk()
    await phone.until(lambda: len(phone.all(frames.Signal)) == 3)
    robin.say(frames.SetPresence(state="away"))
    sam.say(frames.SetPresence(state="offline"))
    sam.say(frames.SetPresence(state="online"))
    again.hang_up()
    sam.hang_up()
    robin.hang_up()

    assert await counts(phone) == [0, 1, 2, 1, 2, 1, 0]
    late = await house.phone("ben")
    assert await counts(late) == [0]


async def ask_for_help(house: House, external_id: str) -> tuple[Phone, UUID]:
    phone = await house.phone(external_id)
    conversation = await phone.open()
    house.clock.move(1)
    return phone, conversation


def queue_of(phone: Phone) -> list[frames.Signal]:
    return [signal for signal in phone.all(frames.Signal) if signal.kind == "queue"]


async def reply(desk: Desk, conversation: UUID) -> None:
    ok = await desk.ask(
        lambda ref: frames.DeskSend(ref=ref, conversation=conversation, id=uuid4(), body=Text(text="hello"))
    )
    assert isinstance(ok, frames.Ok)


async def test_the_queue_moves(house: House) -> None:
    queue = Queue(house.node.house)
    customers = [await ask_for_help(house, name) for name in ("ada", "ben", "chloe")]
    await queue.look()
    await queue.look()
    desk = await house.desk()
    await reply(desk, customers[0][1])
    await customers[1][0].send(customers[1][1], "are you there?")
    await queue.look()

    positions = [[signal.position for signal in queue_of(phone)] for phone, _ in customers]
    assert positions == [[1], [2, 1], [3, 2]]
    assert queue_of(customers[0][0])[0].conversation == customers[0][1]
    await desk.ask(lambda ref: frames.SetStatus(ref=ref, conversation=customers[1][1], status="resolved"))
    await queue.look()
    assert [signal.position for signal in queue_of(customers[2][0])] == [3, 2, 1]
    await customers[0][0].send(customers[0][1], "one more thing")
    await queue.look()
    assert [signal.position for signal in queue_of(customers[0][0])] == [1, 2]


async def test_the_wait_is_said_once_enough_is_known(house: House) -> None:
    queue = Queue(house.node.house)
    desk = await house.desk()
    for number in range(6):
        phone, conversation = await ask_for_help(house, f"user{number}")
        house.clock.move(59 * (number + 1))
        await reply(desk, conversation)
        phone.hang_up()
    waiting, _ = await ask_for_help(house, "waiting")
    await queue.look()

    signal = queue_of(waiting)[0]
    assert (signal.position, signal.wait_p50_s, signal.wait_p90_s) == (1, 178, 355)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], (None, None)),
        ([1, 2, 3, 4], (None, None)),
        ([5, 1, 4, 2, 3], (3, 5)),
        (list(range(1, 101)), (50, 90)),
        ([7] * 10, (7, 7)),
    ],
)
def test_percentiles_are_by_nearest_rank(samples: list[int], expected: tuple[int | None, int | None]) -> None:
    assert percentiles(samples) == expected
