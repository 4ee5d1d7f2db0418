"""Starting, serving and stopping: cold and warm, as root and as an ordinary user."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from server.embedded.binaries import all_binaries
from server.embedded.errors import EXIT_IN_USE, EXIT_START_FAILED, EXIT_WRONG_THREAD, EmbeddedError
from server.embedded.postgres import EmbeddedPostgres, running_dsn
from tests.server.embedded.runner import servers_in, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.embedded.binaries import Binaries
    from tests.server.embedded.runner import Runner


async def ask(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_a_cold_start_makes_the_database_and_a_warm_one_keeps_it(runner: Runner) -> None:
    data = runner.home / "new" / "data"
    cold = runner.own(data).started()
    assert cold.dsn.startswith("postgresql://deskbell@/deskbell?host=")
    assert await ask(cold.dsn, "CREATE TABLE kept AS SELECT 7 AS x") is None
    assert data.joinpath("postgres").stat().st_mode & 0o777 == 0o700
    cold.stop()
    warm = runner.own(data).started()
    assert await ask(warm.dsn, "SELECT x FROM kept") == 7
    warm.stop()
    print(f"as {runner.name}: cold {cold.seconds:.2f} s, warm {warm.seconds:.2f} s")
    assert any("PostgreSQL" in line and ("wheel" in line or "system" in line) for line in warm.log), warm.log


async def test_the_server_is_ours_alone_and_set_for_durability(runner: Runner, seeded: Callable[[], Path]) -> None:
    owner = runner.own(seeded()).started()
    expected = {
        "listen_addresses": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "shared_buffers": "128MB",
        "max_connections": "100",
        "jit": "off",
        "huge_pages": "off",
        "TimeZone": "UTC",
        "password_encryption": "scram-sha-256",
        "server_encoding": "UTF8",
        "unix_socket_permissions": "0700",
    }
    for name, value in expected.items():
        assert await ask(owner.dsn, f"SELECT current_setting('{name}')") == value, name
    assert await ask(owner.dsn, "SELECT datcollate FROM pg_database WHERE datname = 'deskbell'") == "C.UTF-8"
    proc = Path("/proc") / str(owner.pid)
    assert os.getsid(owner.pid) == owner.pid
    assert os.readlink(proc / "fd" / "0") == "/dev/null"
    assert proc.stat().st_uid == runner.server_uid(owner.data_dir) != 0
    environment = proc.joinpath("environ").read_bytes()
    assert b"DESKBELL_" not in environment


async def test_an_operator_may_override_our_settings(runner: Runner, seeded: Callable[[], Path]) -> None:
    data = seeded()
    with data.joinpath("postgres", "postgresql.conf").open("a") as conf:
        conf.write("shared_buffers = '32MB'\n")
    owner = runner.own(data).started()
    assert await ask(owner.dsn, "SELECT current_setting('shared_buffers')") == "32MB"


async def test_below_directories_that_only_their_owner_may_enter(runner: Runner) -> None:
    """Root's home is 0700: whom root drops to cannot walk there. Nothing above the data directory is opened up."""
    closed = runner.home / "closed"
    closed.mkdir(mode=0o700)
    runner.give(closed)
    owner = runner.own(closed / "data").started()
    assert await ask(owner.dsn, "SELECT 1") == 1
    owner.stop()
    warm = runner.own(closed / "data").started()
    assert await ask(warm.dsn, "SELECT 1") == 1
    assert closed.stat().st_mode & 0o777 == 0o700


async def test_a_path_too_long_for_a_socket(runner: Runner, seeded: Callable[[], Path]) -> None:
    data = runner.home / ("long" * 25) / "data"
    data.parent.mkdir()
    runner.give(data.parent)
    seeded().rename(data)
    owner = runner.own(data).started()
    assert await ask(owner.dsn, "SELECT 1") == 1
    assert running_dsn(data) == owner.dsn
    short = Path(str(await ask(owner.dsn, "SELECT current_setting('unix_socket_directories')")))
    assert short.stat().st_mode & 0o777 == 0o700
    assert short.stat().st_uid == runner.server_uid(data)
    owner.stop()
    assert not short.exists()
    # Somebody else was there first: their directory is not trusted, and not touched.
    short.mkdir(mode=0o755)
    try:
        assert str(short) in runner.own(data).fails_with(EXIT_START_FAILED)
        assert short.stat().st_mode & 0o777 == 0o755
    finally:
        short.rmdir()


async def test_another_process_finds_the_running_server(runner: Runner, seeded: Callable[[], Path]) -> None:
    owner = runner.own(seeded()).started()
    found = running_dsn(owner.data_dir)
    assert found == owner.dsn
    assert await ask(found, "SELECT 1") == 1
    owner.stop()
    assert running_dsn(owner.data_dir) is None
    assert running_dsn(owner.data_dir / "nothing") is None


@pytest.mark.parametrize("binaries", list(all_binaries()), ids=lambda binaries: binaries.source)
async def test_every_postgresql_of_this_machine_serves(binaries: Binaries, tmp_path: Path) -> None:
    """In this process, below pytest's closed directory: also the way root takes with each of them."""
    log: list[str] = []
    with EmbeddedPostgres(tmp_path / "data", log=log.append, binaries=binaries) as postgres:
        assert postgres.version == binaries.version
        assert str(await ask(postgres.dsn, "SHOW server_version")).startswith(binaries.version)
        assert postgres.poll() is None
        assert postgres.wait_dead(0.01) is None
    # Without being told, the start after that picks the one that made the cluster.
    with EmbeddedPostgres(tmp_path / "data") as again:
        assert again.version == binaries.version
        assert await ask(again.dsn, "SELECT lower('ÄÖÜ') = 'äöü'")
    print(log[-1])


def test_an_unexpected_death_is_noticed(mine: Path) -> None:
    postgres = EmbeddedPostgres(mine)
    postgres.start()
    dead: list[int | None] = []
    waiter = threading.Thread(target=lambda: dead.append(postgres.wait_dead()))
    waiter.start()
    assert postgres.pid is not None
    os.kill(postgres.pid, 9)
    waiter.join()
    assert dead == [-9]
    assert postgres.poll() == -9
    assert "FATAL" not in postgres.last_words()
    postgres.stop()
    postgres.stop()


def test_one_object_is_started_once_and_says_when_it_is_not(mine: Path) -> None:
    postgres = EmbeddedPostgres(mine)
    with pytest.raises(EmbeddedError, match="call start"):
        postgres.poll()
    postgres.stop()
    with postgres, pytest.raises(EmbeddedError, match="already") as caught:
        postgres.start()
    assert caught.value.exit_code == EXIT_IN_USE
    assert postgres.pid is None
    assert servers_in(mine / "postgres") == []


async def test_another_thread_is_refused_because_the_server_would_end_with_it(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="main thread") as caught:
        await asyncio.to_thread(EmbeddedPostgres(tmp_path / "data").start)
    assert caught.value.exit_code == EXIT_WRONG_THREAD
    assert not (tmp_path / "data").exists()


def test_a_server_that_does_not_listen_to_reason_is_stopped_all_the_same(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.embedded.postgres._FORCE_S", 0.3)
    log: list[str] = []
    postgres = EmbeddedPostgres(mine, log=log.append)
    postgres.start()
    assert postgres.pid is not None
    os.kill(postgres.pid, 19)  # SIGSTOP: it will not answer SIGINT, nor SIGQUIT
    postgres.stop(timeout=0.1)
    assert ["SIGQUIT" in line for line in log[-2:]] == [True, False]
    assert "SIGKILL" in log[-1]
    until("its children to notice", lambda: not servers_in(mine / "postgres"))
    with postgres:
        assert postgres.poll() is None
