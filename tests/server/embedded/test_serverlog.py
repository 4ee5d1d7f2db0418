"""The log stays within its bound while the server holds it open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from server.embedded.account import Account
from server.embedded.serverlog import ServerLog

if TYPE_CHECKING:
    from pathlib import Path

ME = Account(os.geteuid(), os.getegid(), dropped=False)


def test_a_large_log_is_moved_aside_and_the_writer_goes_on(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "postgres.log", limit=1000)
    writer = log.open(ME)
    os.write(writer, b"old\n" * 100)
    assert not log.rotate_if_large()
    os.write(writer, b"new\n" * 500)
    assert log.rotate_if_large()
    os.write(writer, b"next\n")
    os.close(writer)
    assert log.path.read_bytes() == b"next\n"
    older = log.path.with_name("postgres.log.1")
    assert older.read_bytes() == b"new\n" * 250, "at most `limit` bytes, the newest"
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert older.stat().st_mode & 0o777 == 0o600


def test_what_was_said_since(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "postgres.log")
    assert log.size() == 0
    assert log.since(0) == ""
    log.path.write_text("before\nafter\n")
    assert log.since(7) == "after\n"
    assert log.since(0, most=6) == "after\n"
    assert log.since(10_000) == "before\nafter\n", "it was made smaller since the offset was taken"


def test_it_is_looked_after_until_it_is_closed(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "postgres.log")
    log.keep_small()
    log.close()
    log.close()
