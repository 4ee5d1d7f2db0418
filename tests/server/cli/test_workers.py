"""`deskbell serve --workers`: real processes, asked and hurt from outside.

Sweeps are a minute apart, so what arrives at another worker has come over the bus. Every test leaves two workers
running, and brings customers of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.end_to_end.deskbell_process import command_line, start_time
from tests.end_to_end.rawsocket import RawSocket, Rest, desk_hello, fresh_id, hello
from tests.support.workers import ServingWorkers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.end_to_end.rawsocket import Frame

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingWorkers]:
    """Two workers, nothing given: PostgreSQL and Valkey are their own."""
    process = ServingWorkers(tmp_path_factory.mktemp("workers"), DESKBELL_SWEEP_SECONDS="60")
    try:
        process.start()
        process.set_up()
        yield process
    finally:
        process.sweep()


@pytest_asyncio.fixture
async def serving(running: ServingWorkers) -> AsyncIterator[ServingWorkers]:
    await bus_is_whole(running)
    yield running
    await RawSocket.drop_all()


async def eventually(true: Callable[[], Any], what: str) -> Any:
    """Ask again until the answer is true, and return it."""
    async with asyncio.timeout(PATIENCE_S):
        while not (answer := true()):
            await asyncio.sleep(0.02)
        return answer
    raise AssertionError(what)


async def on_worker(serving: ServingWorkers, pid: int, come: Callable[[], Awaitable[RawSocket]]) -> RawSocket:
    """Connect until that worker has the socket. With two workers it is not in one of 2^40 runs."""
    for _ in range(40):
        socket = await come()
        if serving.holder(socket) == pid:
            return socket
        await socket.close()
    raise AssertionError(f"none of 40 connections came to worker {pid}")


def phone(serving: ServingWorkers, user: str, url: str) -> Callable[[], Awaitable[RawSocket]]:
    async def come() -> RawSocket:
        socket, _ = await hello(url, serving.token(user))
        return socket

    return come


def desk(serving: ServingWorkers, url: str) -> Callable[[], Awaitable[RawSocket]]:
    async def come() -> RawSocket:
        socket, _ = await desk_hello(url, serving.agent["token"])
        return socket

    return come


async def open_conversation(socket: RawSocket, text: str) -> str:
    conversation = fresh_id()
    body = {"kind": "text", "text": text}
    answer = await socket.call({"t": "open", "conversation": conversation, "message": {"id": fresh_id(), "body": body}})
    assert answer["t"] == "ok", answer
    return conversation


async def send(socket: RawSocket, conversation: str, text: str) -> None:
    body = {"kind": "text", "text": text}
    answer = await socket.call({"t": "send", "conversation": conversation, "id": fresh_id(), "body": body})
    assert answer["t"] == "ok", answer


async def reads(socket: RawSocket, text: str) -> None:
    def wanted(frame: Frame) -> bool:
        return bool(frame["t"] == "event" and frame["kind"] == "message" and frame["body"].get("text") == text)

    await socket.wait_for(wanted, text)


async def bus_is_whole(serving: ServingWorkers) -> None:
    """Every worker is ready, which includes that its bus hears. One behind the port answers, so ask until both have."""
    answers = 0
    async with asyncio.timeout(PATIENCE_S):
        while answers < 20:  # each is of either worker: all of one in a row come once in a million
            answers = answers + 1 if (await Rest(serving.url)("GET", "/readyz")).status_code == 200 else 0


async def test_a_phone_on_one_worker_and_the_desk_on_the_other(serving: ServingWorkers) -> None:
    one, two = serving.pids()
    # Through either port, to either process.
    first = await on_worker(serving, one, phone(serving, "ada", serving.url))
    second = await on_worker(serving, two, phone(serving, "ada", serving.gateway))
    agent = await on_worker(serving, two, desk(serving, serving.url))
    conversation = await open_conversation(first, "Where is my ride?")
    await reads(second, "Where is my ride?")
    await agent.call({"t": "watch", "conversation": conversation, "seq": 0})
    await reads(agent, "Where is my ride?")
    await send(agent, conversation, "Two minutes away.")
    await reads(first, "Two minutes away.")
    await reads(second, "Two minutes away.")
    other = await on_worker(serving, one, desk(serving, serving.gateway))
    await other.call({"t": "watch", "conversation": conversation, "seq": 0})
    await send(other, conversation, "It is the red one.")
    for socket in (first, second, agent):
        await reads(socket, "It is the red one.")


async def test_a_scrape_speaks_for_all_whoever_answers_it(serving: ServingWorkers) -> None:
    sockets = [
        await on_worker(serving, pid, come)
        for pid in serving.pids()
        for come in (phone(serving, "grace", serving.url), desk(serving, serving.gateway))
    ]
    # What earlier tests dropped is noticed in a moment.
    async with asyncio.timeout(PATIENCE_S):
        while (await serving.numbers())['deskbell_connections{door="chat"}'] != 2:
            await asyncio.sleep(0.05)
    for _ in range(8):
        numbers = await serving.numbers()
        assert numbers["deskbell_workers"] == 2
        assert numbers['deskbell_connections{door="chat"}'] == 2
        assert numbers['deskbell_connections{door="desk"}'] == 2
        assert {f'process_resident_memory_bytes{{worker="{each}"}}' for each in (1, 2, "supervisor")} <= set(numbers)
    assert not any(socket.is_closed for socket in sockets)


async def test_one_that_hangs_is_seen_in_the_numbers(serving: ServingWorkers) -> None:
    one, _ = serving.pids()
    before = await serving.numbers()
    os.kill(one, signal.SIGSTOP)
    try:
        # What the hanging one is dealt waits, so ask until it is the other's turn.
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(4):
                        numbers = await serving.numbers()
                        break
    finally:
        os.kill(one, signal.SIGCONT)
    assert numbers["deskbell_workers"] == 1
    counted = {name for name in before if "_total" in name and "process_" not in name}
    assert all(numbers[name] >= before[name] for name in counted)
    assert (await serving.numbers())["deskbell_workers"] == 2


async def test_a_worker_that_is_killed_comes_back_and_the_other_serves(serving: ServingWorkers) -> None:
    one, two = serving.pids()
    kept = await on_worker(serving, two, phone(serving, "barbara", serving.url))
    lost = await on_worker(serving, one, phone(serving, "barbara", serving.gateway))
    conversation = await open_conversation(lost, "before")
    await reads(kept, "before")
    before = await serving.numbers()
    os.kill(one, signal.SIGKILL)
    assert await lost.wait_closed() == 1006
    await send(kept, conversation, "meanwhile")
    # Who knocks now is let in, by the survivor or, a moment later, by the successor: nobody is refused.
    for _ in range(8):
        socket = await phone(serving, "barbara", serving.url)()
        await socket.close()
    (new,) = await eventually(lambda: serving.pids() - {one, two}, "a new worker")
    await eventually(lambda: serving.logged("the worker is back"), "its word")
    (death, *_) = serving.logged("a worker has died; starting it again")
    assert (death["how"], death["pause_s"]) == ("was ended by SIGKILL", 0.5)
    await bus_is_whole(serving)
    back = await on_worker(serving, new, phone(serving, "barbara", serving.gateway))
    await send(back, conversation, "afterwards")
    await reads(kept, "afterwards")
    # What the dead one had counted is still counted: to Prometheus a sum that falls is a new beginning.
    after = await serving.numbers()
    counters = {name: value for name, value in before.items() if "_total" in name and "process_" not in name}
    assert counters['deskbell_frames_total{door="chat",t="open"}'] >= 1
    assert {name: value for name, value in counters.items() if after[name] < value} == {}
    assert after["deskbell_worker_restarts_total"] == 1


async def test_a_worker_told_to_go_alone_drains_and_is_started_again(serving: ServingWorkers) -> None:
    one, two = serving.pids()
    kept = await on_worker(serving, two, phone(serving, "dorothy", serving.url))
    asked = await on_worker(serving, one, phone(serving, "dorothy", serving.gateway))
    await open_conversation(asked, "unseen by any scrape")
    opened = 'deskbell_frames_total{door="chat",t="open"}'
    before = (await serving.numbers())[opened]
    await open_conversation(asked, "counted after the last scrape")
    os.kill(one, signal.SIGTERM)
    assert await asked.wait_closed() == 4000
    (new,) = await eventually(lambda: serving.pids() - {one, two}, "a new worker")
    assert serving.logged("a worker has died; starting it again")[-1]["how"] == "ended with 0"
    await bus_is_whole(serving)
    assert (await serving.numbers())[opened] == before + 1, "who leaves in good order leaves its numbers"
    back = await on_worker(serving, new, phone(serving, "dorothy", serving.gateway))
    await open_conversation(back, "and on it goes")
    await reads(kept, "and on it goes")


async def test_valkey_that_is_killed_comes_back_under_its_address(serving: ServingWorkers) -> None:
    one, two = serving.pids()
    here = await on_worker(serving, one, phone(serving, "edsger", serving.url))
    there = await on_worker(serving, two, phone(serving, "edsger", serving.url))
    (old,) = serving.children("valkey-server")
    os.kill(old, signal.SIGKILL)
    await eventually(lambda: serving.children("valkey-server") - {old}, "a new Valkey")
    await bus_is_whole(serving)
    await open_conversation(here, "Is anybody there?")
    await reads(there, "Is anybody there?")
    assert serving.pids() == {one, two}


async def test_nothing_outlives_the_supervisor_and_the_next_one_starts(serving: ServingWorkers) -> None:
    assert serving.ready["said"] == f"Deskbell listens on {serving.url} (agents: {serving.url}/desk)"
    (valkey,) = serving.children("valkey-server")
    (postgres,) = serving.children("postgres -D")
    folder = _valkey_folder(serving)
    below = {pid: start_time(pid) for pid in (*serving.pids(), valkey, postgres)}
    serving.kill()
    assert serving.left_behind() == []
    assert all(start_time(pid) is None for pid in below)
    serving.start()
    assert _valkey_folder(serving) != folder
    assert not os.path.exists(folder), "the next one tidies up what the killed one left"


async def test_told_to_go_they_tell_every_socket_and_leave_nothing(serving: ServingWorkers) -> None:
    sockets = [
        await on_worker(serving, pid, come)
        for pid in serving.pids()
        for come in (phone(serving, "linus", serving.url), desk(serving, serving.gateway))
    ]
    folder = _valkey_folder(serving)
    assert await asyncio.to_thread(serving.terminate) == 0, serving.log_tail()
    for socket in sockets:
        assert await socket.wait_closed() == 4000
        assert any(frame["t"] == "drain" for frame in socket.received)
    assert serving.left_behind() == []
    assert not os.path.exists(folder)
    assert "Traceback" not in serving.log_path.read_text()
    serving.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_hurries(number: signal.Signals, tmp_path: Path, database_url: str) -> None:
    serving = ServingWorkers(tmp_path, DESKBELL_DATABASE_URL=database_url, DESKBELL_DRAIN_SECONDS="600")
    try:
        serving.start()
        serving.set_up()
        sockets = [await phone(serving, "ada", serving.url)() for _ in range(8)]
        serving.send(number)
        for socket in sockets:
            await socket.wait_for(lambda frame: frame["t"] == "drain", "drain")
        assert not all(socket.is_closed for socket in sockets)
        serving.send(number)
        assert await asyncio.to_thread(serving.wait) == 0
        assert {await socket.wait_closed() for socket in sockets} == {4000}
        assert serving.left_behind() == []
    finally:
        serving.sweep()


async def test_a_worker_that_cannot_come_back_is_tried_again_and_nobody_waits_for_it(
    tmp_path: Path, database_url: str
) -> None:
    """The key is exchanged under a running service: who starts anew cannot read what is stored."""
    key = tmp_path / "key"
    key.write_text("the key that everything was encrypted with")
    serving = ServingWorkers(tmp_path, DESKBELL_DATABASE_URL=database_url, DESKBELL_SECRET_KEY_FILE=str(key))
    try:
        serving.start()
        serving.set_up()
        one, _ = serving.pids()
        key.write_text("quite another key, which opens nothing here")
        os.kill(one, signal.SIGKILL)
        deaths = await eventually(
            lambda: found[:3] if len(found := serving.logged("a worker has died; starting it again")) >= 3 else None,
            "two attempts",
        )
        assert [death["how"] for death in deaths] == ["was ended by SIGKILL", "ended with 3", "ended with 3"]
        assert [death["pause_s"] for death in deaths] == [0.5, 1.0, 2.0]
        assert "DESKBELL_SECRET_KEY" in deaths[1]["last_words"]
        # While it is away its share of new connections is the other's.
        async with asyncio.timeout(10):
            for _ in range(30):
                assert (await Rest(serving.url)("GET", "/livez")).status_code == 200
                await (await phone(serving, "ada", serving.gateway)()).close()
        assert (await serving.numbers())["deskbell_workers"] == 1
        key.write_text("the key that everything was encrypted with")
        await eventually(lambda: serving.logged("the worker is back"), "the worker")
        pids = {serving.holder(await phone(serving, "ada", serving.gateway)()) for _ in range(40)}
        assert len(pids) == 2, "it gets its share again"
        await RawSocket.drop_all()
        assert await asyncio.to_thread(serving.terminate) == 0
    finally:
        serving.sweep()


def _valkey_folder(serving: ServingWorkers) -> str:
    (valkey,) = serving.children("valkey-server")
    found = re.search(r"unixsocket:(\S+)/bus\.sock", command_line(valkey))
    assert found is not None
    return found[1]
