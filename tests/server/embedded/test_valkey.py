"""The Valkey that comes along: private, without files, and never alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
import redis

from server.embedded.errors import EXIT_NO_BINARIES, EXIT_UNREACHABLE, EmbeddedError
from server.embedded.process import exists
from server.embedded.valkey import FOLDER_PREFIX, EmbeddedValkey
from server.embedded.valkey_binary import find_valkey
from tests.server.embedded.runner import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.embedded.runner import Owner, Runner


def folder_of(url: str) -> Path:
    return Path(unquote(url.removeprefix("unix://"))).parent


def uid_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def gone(pid: int) -> bool:
    """Also when nobody has asked yet how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def valkey(open_place: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(open_place / "nothing there", place=open_place)
    try:
        yield server
    finally:
        server.stop()


def own(runner: Runner) -> Owner:
    return runner.own(runner.home / "data", "--valkey").started()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_it_ends_with_its_owner_however_that_ends(number: signal.Signals, runner: Runner) -> None:
    owner = own(runner)
    folder = folder_of(owner.dsn)
    assert owner.pid
    assert uid_of(owner.pid) == runner.server_uid(owner.data_dir) != 0
    status = folder.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (uid_of(owner.pid), 0o700)
    assert "not for the server" not in Path(f"/proc/{owner.pid}/environ").read_text()
    os.killpg(owner.process.pid, number)
    assert owner.process.wait() != 0
    until("the server to end", lambda: gone(owner.pid))
    # The next one of this user finds the folder and knows that nobody holds it any more.
    successor = own(runner)
    assert not folder.exists()
    successor.process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
    assert successor.process.wait() == 0
    assert gone(successor.pid)
    assert not folder_of(successor.dsn).exists()


def test_two_owners_leave_each_other_alone(runner: Runner) -> None:
    first, second = own(runner), own(runner)
    assert folder_of(first.dsn) != folder_of(second.dsn)
    assert not gone(first.pid)
    assert folder_of(first.dsn).is_dir()


def test_it_carries_hints_and_keeps_nothing(valkey: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey.start()) as client:
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("port") == {"port": "0"}
        listener = client.pubsub(ignore_subscribe_messages=True)
        listener.subscribe("news")
        listener.get_message(timeout=5)
        client.publish("news", "here")
        heard = listener.get_message(timeout=5)
        assert heard is not None
        assert heard["data"] == b"here"
        listener.close()
    folder = folder_of(valkey.url)
    valkey.stop()
    assert not folder.exists()


def test_it_comes_back_under_the_same_address(valkey: EmbeddedValkey) -> None:
    url = valkey.start()
    old = valkey.pid
    assert old is not None
    assert valkey.poll() is None
    os.kill(old, signal.SIGKILL)
    assert until("its end to be noticed", lambda: valkey.poll() is not None)
    valkey.restart()
    assert (valkey.url, valkey.poll()) == (url, None)
    assert valkey.pid != old
    with redis.Redis.from_url(url) as client:
        assert client.ping()


def test_it_is_tried_again_after_it_could_not_even_be_run(open_place: Path) -> None:
    binary = open_place / "valkey-server"
    shutil.copy(find_valkey(), binary)
    server = EmbeddedValkey(open_place, binary=binary, place=open_place)
    try:
        server.start()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        binary.rename(open_place / "away")  # an upgrade of the installation under the running service
        with pytest.raises(EmbeddedError, match="cannot run"):
            server.restart()
        assert server.poll() is not None
        (open_place / "away").rename(binary)
        server.restart()
        assert server.poll() is None
    finally:
        server.stop()
        binary.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root runs it as they are")
def test_a_binary_in_a_closed_home_is_run_all_the_same(open_place: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    binary = closed / "valkey-server"
    shutil.copy(find_valkey(), binary)
    server = EmbeddedValkey(open_place, binary=binary, place=open_place)
    try:
        server.start()
        assert server.pid is not None
        assert uid_of(server.pid) != 0
    finally:
        server.stop()


def test_a_program_that_is_none(open_place: Path) -> None:
    lines: list[str] = []
    server = EmbeddedValkey(open_place, binary=Path("/bin/false"), place=open_place, log=lines.append)
    with pytest.raises(EmbeddedError, match="/bin/false does not start") as refused:
        server.start()
    assert "\n" not in refused.value.message
    assert lines == []
    assert list(open_place.glob(f"{FOLDER_PREFIX}*")) == []


def test_a_place_whose_path_is_too_long_for_a_socket(open_place: Path) -> None:
    long = open_place / ("x" * 90)
    long.mkdir()
    with pytest.raises(EmbeddedError, match="set TMPDIR to a short path") as refused:
        EmbeddedValkey(open_place, place=long).start()
    assert refused.value.exit_code == EXIT_UNREACHABLE
    long.rmdir()


def test_none_to_be_found(open_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.embedded.valkey_binary.from_wheel", lambda: None)
    monkeypatch.setenv("PATH", str(open_place))
    with pytest.raises(EmbeddedError, match=re.escape("install `deskbell[embedded]`")) as refused:
        EmbeddedValkey(open_place).start()
    assert refused.value.exit_code == EXIT_NO_BINARIES


def test_a_folder_of_somebody_who_lives_is_not_swept(valkey: EmbeddedValkey, open_place: Path) -> None:
    valkey.start()
    other = EmbeddedValkey(open_place, place=open_place)
    try:
        other.start()
        assert valkey.pid is not None
        assert exists(valkey.pid)
        assert valkey.poll() is None
        assert folder_of(valkey.url).is_dir()
    finally:
        other.stop()
