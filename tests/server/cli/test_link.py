"""What a supervisor and a worker say to each other arrives whole, or not at all."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest_asyncio

from server.cli.link import Failed, Family, Leave, Link, Number, Numbers, Page, Ready, for_supervisor, for_worker
from server.cli.worker import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.cli.link import FromSupervisor, FromWorker


class Pair:
    """Both ends; `raw` writes beside the worker's link, as last words do."""

    def __init__(self, supervisor: Link[FromWorker], worker: Link[FromSupervisor], raw: socket.socket) -> None:
        self.supervisor = supervisor
        self.worker = worker
        self.raw = raw


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair()
    raw = theirs.dup()
    pair = Pair(await Link.open(ours, for_supervisor()), await Link.open(theirs, for_worker()), raw)
    yield pair
    await pair.worker.close()
    await pair.supervisor.close()
    raw.close()


async def test_both_ways_in_order(pair: Pair) -> None:
    large = Numbers([Family("sent", "counter", "Sent.", [Number("sent_total", {"door": "chat"}, 1.5)] * 10_000)])
    for said in (Ready(), large, Failed("no", 3)):
        pair.worker.send(said)
    assert [await pair.supervisor.read() for _ in range(3)] == [Ready(), large, Failed("no", 3)]
    for word in (Leave(hurry=False), Page("# HELP\n"), Leave(hurry=True)):
        pair.supervisor.send(word)
    assert [await pair.worker.read() for _ in range(3)] == [Leave(hurry=False), Page("# HELP\n"), Leave(hurry=True)]


async def test_the_end_of_the_other_is_read(pair: Pair) -> None:
    pair.worker.send(Ready())
    await pair.worker.close()
    pair.raw.sendall(b'{"type":"ready"')  # cut off in the middle
    pair.raw.close()
    assert await pair.supervisor.read() == Ready()
    assert await pair.supervisor.read() is None
    pair.supervisor.send(Leave(hurry=True))  # nobody hears it, and nothing happens
    assert await pair.supervisor.read() is None


async def test_last_words_after_half_a_message_cost_only_that(pair: Pair) -> None:
    pair.raw.sendall(b'{"type":"numbers","families":[["sen{"type":"failed","message":"lost","code":1}\n')
    pair.raw.sendall(b'{"type":"unheard of"}\n\xff\n{"type":"failed","message":"no","code":3}\n')
    assert await pair.supervisor.read() == Failed("no", 3)


def test_a_place_survives_the_command_line() -> None:
    left, right = socket.socketpair()
    with left, right:
        for place in (Place(3, left.fileno(), right.fileno(), None), Place(64, *[left.fileno()] * 3)):
            assert Place.of(str(place)) == place
        assert Place(3, 5, 6, 7).inherited() == [5, 6, 7]
        assert Place(3, 5, 6, None).inherited() == [5, 6]
