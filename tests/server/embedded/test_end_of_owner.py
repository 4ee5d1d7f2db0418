"""However the owner ends, no PostgreSQL stays behind, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import asyncpg
import pytest

from server.embedded.account import Identity, choose_account
from server.embedded.binaries import find_binaries, readable_for
from server.embedded.postgres import EmbeddedPostgres, dsn_for
from tests.server.embedded.runner import servers_in, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.server.embedded.runner import Runner


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_to_the_owner_ends_the_server_too(
    number: signal.Signals, runner: Runner, seeded: Callable[[], Path]
) -> None:
    owner = runner.own(seeded()).started()
    assert owner.pid in servers_in(owner.cluster)
    # To the whole group, as a terminal does on Ctrl-C: the server is not in it, it is told when its owner is gone.
    os.killpg(owner.process.pid, number)
    assert owner.process.wait() != 0
    until("the server to end", lambda: not servers_in(owner.cluster))
    assert not (owner.cluster / "postmaster.pid").exists(), "it was not shut down but killed"


def test_an_owner_that_forgets_to_stop(runner: Runner, seeded: Callable[[], Path]) -> None:
    owner = runner.own(seeded(), "--leave").started()
    assert owner.process.wait() == 0
    until("the server to end", lambda: not servers_in(owner.cluster))


def test_a_restart_right_after_a_kill(runner: Runner, seeded: Callable[[], Path]) -> None:
    data = seeded()
    for _ in range(3):
        runner.own(data).started().process.send_signal(signal.SIGKILL)
    runner.own(data).started().stop()


async def test_everything_acknowledged_survives_a_kill_of_both(runner: Runner, seeded: Callable[[], Path]) -> None:
    data = seeded()
    owner = runner.own(data).started()
    connection = await asyncpg.connect(owner.dsn)
    await connection.execute("CREATE TABLE message (id bigint PRIMARY KEY)")
    await connection.close()
    acknowledged: list[int] = []
    plenty = asyncio.Event()

    async def write(first: int) -> None:
        connection = await asyncpg.connect(owner.dsn)
        try:
            for number in range(first, first + 1_000_000):
                await connection.execute("INSERT INTO message VALUES ($1)", number)
                acknowledged.append(number)
                if len(acknowledged) == 1000:
                    plenty.set()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            return  # the kill: whatever was not acknowledged may be there or not
        finally:
            connection.terminate()

    async def kill() -> None:
        await plenty.wait()
        os.kill(owner.pid, signal.SIGKILL)
        os.kill(owner.process.pid, signal.SIGKILL)

    await asyncio.gather(kill(), *(write(writer * 1_000_000) for writer in range(8)))
    assert len(acknowledged) >= 1000
    owner.process.wait()
    again = runner.own(data).started()
    connection = await asyncpg.connect(again.dsn)
    stored = {row["id"] for row in await connection.fetch("SELECT id FROM message")}
    await connection.close()
    print(f"as {runner.name}: {len(acknowledged)} acknowledged, {len(stored)} stored, back in {again.seconds:.2f} s")
    assert set(acknowledged) <= stored
    again.stop()


def test_a_first_start_that_was_killed_leaves_no_half_cluster(runner: Runner) -> None:
    data = runner.home / "data"
    owner = runner.own(data)
    until("initdb to be at work", lambda: list(data.glob("postgres.building-*/base")))
    owner.kill()
    assert not (data / "postgres").exists()
    again = runner.own(data).started()
    assert list(data.glob("postgres.building-*")) == []
    assert any("did not finish" in line for line in again.log), again.log
    again.stop()


async def test_a_server_whose_owner_is_gone_is_adopted_and_stopped(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not end it for us (macOS), or when somebody started it by hand."""
    monkeypatch.setattr("server.embedded.postgres._NOTICE_S", 0.2)
    cluster = mine / "postgres"
    dsn = dsn_for(cluster, 5432, "deskbell")
    account = choose_account(mine, cluster)
    binaries = readable_for(account, find_binaries(), mine / "binaries")
    descriptor = os.open(cluster, os.O_RDONLY)
    seen = f"/proc/self/fd/{descriptor}"
    identity: Identity = account.identity()
    orphan = subprocess.Popen(
        [binaries.postgres, "-D", seen, "-c", "listen_addresses=", "-c", f"unix_socket_directories={seen}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        pass_fds=(descriptor,),
        **identity,
    )
    os.close(descriptor)
    try:
        until("it to write its pid", lambda: (cluster / "postmaster.pid").exists())
        log: list[str] = []
        postgres = EmbeddedPostgres(mine, log=log.append)
        assert postgres.start() == dsn
        assert postgres.pid == orphan.pid
        assert "adopted" in log[-1]
        assert postgres.poll() is None
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        postgres.stop()
        assert orphan.wait(30) == 0
    finally:
        if orphan.poll() is None:
            orphan.kill()
            orphan.wait()
    assert servers_in(cluster) == []


def test_recovery_may_take_as_long_as_it_needs_and_says_so(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recovery held up by its own restore command, for longer than every patience the supervisor has."""
    for name, seconds in {"_SILENCE_S": 0.5, "_BUSY_S": 0.5, "_NOTICE_S": 0.5, "_PROGRESS_S": 0.2}.items():
        monkeypatch.setattr(f"server.embedded.postgres.{name}", seconds)
    cluster = mine / "postgres"
    with cluster.joinpath("postgresql.conf").open("a") as conf:
        conf.write("restore_command = 'while [ ! -e go ]; do sleep 0.05; done; false'\n")
    cluster.joinpath("recovery.signal").touch()
    os.chown(cluster / "recovery.signal", cluster.stat().st_uid, cluster.stat().st_gid)
    log: list[str] = []

    def listen(line: str) -> None:
        log.append(line)
        if sum("starting up" in entry for entry in log) == 10:
            (cluster / "go").touch()

    with EmbeddedPostgres(mine, log=listen) as postgres:
        assert postgres.poll() is None
    assert sum("starting up (" in line for line in log) >= 10
