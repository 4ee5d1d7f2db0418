"""What can be wrong with a data directory: one clear line and an exit code for each, and nothing destroyed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.embedded.account import Identity
from server.embedded.errors import (
    EXIT_CORRUPTED,
    EXIT_DISK_FULL,
    EXIT_FOREIGN_DIRECTORY,
    EXIT_IN_USE,
    EXIT_NOT_WRITABLE,
    EXIT_OTHER_VERSION,
)
from tests.server.embedded.runner import Owner, Runner, servers_in, until
from tests.server.embedded.test_start import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def contents(directory: Path) -> dict[str, str]:
    """Every file below `directory`, and a hash of what is in it."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def killed(owner: Owner) -> Path:
    """Kill both, the server first, so that it leaves its lock files as a power cut does."""
    os.kill(owner.pid, signal.SIGKILL)
    owner.kill()
    until("the backends to end", lambda: not servers_in(owner.cluster))
    assert (owner.cluster / "postmaster.pid").exists()
    return owner.cluster


def repid(file: Path, pid: int) -> None:
    first, newline, rest = file.read_text().partition("\n")
    assert first.strip().isdigit()
    file.write_text(f"{pid}{newline}{rest}")


async def test_a_pid_file_whose_server_is_gone(runner: Runner, seeded: Callable[[], Path]) -> None:
    data = seeded()
    killed(runner.own(data).started())
    owner = runner.own(data).started()
    assert await ask(owner.dsn, "SELECT 1") == 1


async def test_a_pid_file_whose_pid_is_another_program_now(runner: Runner, seeded: Callable[[], Path]) -> None:
    """In a container the same few pids come again at every start. The other program must live, too."""
    data = seeded()
    cluster = killed(runner.own(data).started())
    identity = Identity() if os.geteuid() != 0 else Identity(user=cluster.stat().st_uid, group=cluster.stat().st_gid)
    other = subprocess.Popen(["sleep", "60"], **identity)
    try:
        repid(cluster / "postmaster.pid", other.pid)
        repid(cluster / ".s.PGSQL.5432.lock", other.pid)
        owner = runner.own(data).started()
        assert await ask(owner.dsn, "SELECT 1") == 1
        assert sum("is stale" in line for line in owner.log) == 2, owner.log
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_an_empty_pid_file_from_a_disk_that_was_full(runner: Runner, seeded: Callable[[], Path]) -> None:
    data = seeded()
    cluster = killed(runner.own(data).started())
    (cluster / "postmaster.pid").write_text("")
    owner = runner.own(data).started()
    assert await ask(owner.dsn, "SELECT 1") == 1


async def test_a_second_instance_on_the_same_directory(runner: Runner, seeded: Callable[[], Path]) -> None:
    owner = runner.own(seeded()).started()
    message = runner.own(owner.data_dir).fails_with(EXIT_IN_USE)
    assert f"pid {owner.process.pid}" in message
    assert str(owner.data_dir) in message
    assert await ask(owner.dsn, "SELECT 1") == 1
    owner.stop()


def test_a_cluster_of_another_major_version(runner: Runner, seeded: Callable[[], Path]) -> None:
    data = seeded()
    for version, advice in (("99", "newer"), ("14", "pg_dump")):
        (data / "postgres" / "PG_VERSION").write_text(f"{version}\n")
        before = contents(data / "postgres")
        message = runner.own(data).fails_with(EXIT_OTHER_VERSION)
        assert f"PostgreSQL {version}" in message
        assert advice in message
        assert contents(data / "postgres") == before


def test_a_directory_that_is_something_else(runner: Runner) -> None:
    data = runner.home / "data"
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "family.jpg").write_bytes(b"irreplaceable")
    for path in (data, data / "postgres"):
        runner.give(path)
    assert "no PG_VERSION" in runner.own(data).fails_with(EXIT_FOREIGN_DIRECTORY)
    assert contents(data / "postgres") == contents(data / "postgres") | {
        "family.jpg": hashlib.sha256(b"irreplaceable").hexdigest()
    }


def test_a_file_or_a_broken_link_where_the_cluster_should_be(runner: Runner) -> None:
    data = runner.home / "data"
    data.mkdir()
    runner.give(data)
    (data / "postgres").write_text("a file")
    assert "not a directory" in runner.own(data).fails_with(EXIT_FOREIGN_DIRECTORY)
    assert (data / "postgres").read_text() == "a file"
    (data / "postgres").unlink()
    (data / "postgres").symlink_to(data / "nowhere")
    assert "broken link" in runner.own(data).fails_with(EXIT_FOREIGN_DIRECTORY)


def lose_the_control_file(cluster: Path) -> None:
    (cluster / "global" / "pg_control").unlink()


def zero_the_control_file(cluster: Path) -> None:
    (cluster / "global" / "pg_control").write_bytes(bytes(8192))


def lose_the_log(cluster: Path) -> None:
    for segment in (cluster / "pg_wal").iterdir():
        if segment.is_file():
            segment.unlink()


def garble_the_version(cluster: Path) -> None:
    (cluster / "PG_VERSION").write_text("\0\0\0")


@pytest.mark.parametrize("harm", [lose_the_control_file, zero_the_control_file, lose_the_log, garble_the_version])
def test_a_damaged_cluster(harm: Callable[[Path], None], runner: Runner, seeded: Callable[[], Path]) -> None:
    data = seeded()
    harm(data / "postgres")
    before = contents(data / "postgres" / "base")
    message = runner.own(data).fails_with(EXIT_CORRUPTED)
    assert "damaged" in message
    assert "backup" in message
    assert contents(data / "postgres" / "base") == before


def test_a_place_where_we_may_not_write(runner: Runner) -> None:
    if runner.name == "root":
        place = Path("/proc/sys")  # one that refuses even root
    else:
        place = runner.home / "read-only"
        place.mkdir()
        runner.give(place)
        place.chmod(0o555)
    message = runner.own(place / "data").fails_with(EXIT_NOT_WRITABLE)
    assert str(place / "data") in message
    assert "DESKBELL_DATA_DIR" in message


def test_a_file_in_the_way_of_the_data_directory(runner: Runner) -> None:
    (runner.home / "file").write_text("kept")
    assert "data directory" in runner.own(runner.home / "file" / "data").fails_with(EXIT_NOT_WRITABLE)
    assert (runner.home / "file").read_text() == "kept"


def test_a_cluster_that_others_were_let_into_is_closed_again(runner: Runner, seeded: Callable[[], Path]) -> None:
    data = seeded()
    (data / "postgres").chmod(0o755)
    runner.own(data).started().stop()
    assert (data / "postgres").stat().st_mode & 0o777 == 0o700


def test_a_file_size_limit_is_a_full_disk(runner: Runner, seeded: Callable[[], Path]) -> None:
    """Works for every user: no file may grow beyond the limit, neither in a first start nor in a later one."""
    message = runner.own(runner.home / "new", "--file-size-limit", "300000").fails_with(EXIT_DISK_FULL)
    assert "disk is full" in message
    assert list((runner.home / "new").glob("postgres*/")) == []
    data = seeded()
    with (data / "postgres.log").open("a") as log:
        log.write("LOG:  there is no room here for why it fails\n" * 200)
    assert "disk is full" in runner.own(data, "--file-size-limit", "4096").fails_with(EXIT_DISK_FULL)
    runner.own(data).started().stop()


@contextlib.contextmanager
def mounted(directory: Path, megabytes: int) -> Iterator[bool]:
    """A small file system of its own, where we may have one: root outside of a confined container."""
    directory.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "none", directory],
        capture_output=True,
        check=False,
    )
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", directory], check=True)


async def test_a_full_disk_loses_nothing(runner: Runner, seeded: Callable[[], Path]) -> None:
    """A disk that is really full. Who may not mount one meets a limit on the size of files: a real refusal as well."""
    place = runner.home / "disk"
    data = seeded()
    with mounted(place, 100) as real:
        runner.give(place)
        if real:
            subprocess.run(["cp", "-a", data, place / "data"], check=True)
            data = place / "data"
        owner = runner.own(data).started()
        await ask(owner.dsn, "CREATE TABLE kept AS SELECT 7 AS x")
        owner.stop()
        limit = [] if real else ["--file-size-limit", "4096"]
        if real:
            with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as filler:
                while filler.write(bytes(1 << 16)):
                    pass
        before = contents(data / "postgres")
        message = runner.own(data, *limit).fails_with(EXIT_DISK_FULL)
        assert "disk is full" in message
        after = contents(data / "postgres")
        assert {name: after[name] for name in before if name.startswith(("base/", "pg_wal/"))} == {
            name: value for name, value in before.items() if name.startswith(("base/", "pg_wal/"))
        }
        (place / "filler").unlink(missing_ok=True)
        again = runner.own(data).started()
        assert await ask(again.dsn, "SELECT x FROM kept") == 7
        again.stop()


def test_a_first_start_on_a_disk_that_is_too_small(runner: Runner) -> None:
    with mounted(runner.home / "disk", 16) as real:
        runner.give(runner.home / "disk")
        limit = [] if real else ["--file-size-limit", "300000"]
        data = runner.home / "disk" / "data"
        assert "disk is full" in runner.own(data, *limit).fails_with(EXIT_DISK_FULL)
        assert list(data.glob("postgres*/")) == []
