"""One address for several processes: exclusive to others, dealt out among them, and no one waits at a closed window."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from server.cli.listening import SharedPort, bind
from server.cli.process import EXIT_ADDRESS, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
DEALT = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is one socket for all")


@pytest.fixture(params=["chosen", "dealt out"])
def port(request: pytest.FixtureRequest) -> Iterator[SharedPort]:
    """For four processes; of a number that was asked for, or of one that the kernel gave."""
    number = 0
    if request.param == "chosen":
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            number = probe.getsockname()[1]
    shared = SharedPort(HOST, number, 4)
    with contextlib.closing(shared):
        yield shared


def knock(port: SharedPort, times: int) -> list[socket.socket]:
    """Connections that wait to be accepted."""
    address = port.sockets[1].getsockname()
    return [socket.create_connection(address, timeout=5) for _ in range(times)]


def waiting(port: SharedPort) -> list[int]:
    """How many wait at each socket; they are let go."""
    counts = []
    for sock in port.sockets:
        count = 0
        with contextlib.suppress(OSError):
            while True:
                sock.accept()[0].close()
                count += 1
        counts.append(count)
    return counts


def close(clients: list[socket.socket]) -> None:
    for client in clients:
        client.close()


@DEALT
def test_each_gets_its_share(port: SharedPort) -> None:
    clients = knock(port, 400)
    counts = waiting(port)
    close(clients)
    assert sum(counts) == 400
    # Of a binomial share, five standard deviations: 100 ± 43.
    assert all(57 <= count <= 143 for count in counts), counts


@DEALT
def test_who_comes_to_nothing_is_passed_over_until_it_listens_again(port: SharedPort) -> None:
    for number in (0, 2):
        lost = knock(port, 100)
        port.rest(number)
        port.rest(number)
        waiting(port)
        close(lost)
        clients = knock(port, 200)
        counts = waiting(port)
        assert counts[number] == 0
        assert sum(counts) == 200
        close(clients)
        port.resume(number)
        port.resume(number)
        port.sockets[number].listen(100)  # as its process does once it is ready
        clients = knock(port, 200)
        for client in clients:
            client.sendall(b"anybody there?")
        accepted = [port.sockets[number].accept()[0] for _ in range(20)]
        assert {each.recv(100) for each in accepted} == {b"anybody there?"}
        waiting(port)
        close(clients + accepted)


def test_what_waits_outlives_the_process_that_was_to_accept_it(port: SharedPort) -> None:
    theirs = [sock.dup() for sock in port.sockets]  # as a process has inherited them
    clients = knock(port, 40)
    for sock in theirs:
        sock.close()
    assert sum(waiting(port)) == 40
    close(clients)


@pytest.mark.parametrize("other", [bind, lambda host, number: SharedPort(host, number, 2)], ids=["one", "several"])
def test_nobody_else_gets_in(port: SharedPort, other: Callable[[str, int], object]) -> None:
    number = port.sockets[0].getsockname()[1]
    with pytest.raises(StartError, match=f"cannot listen on {HOST}:{number}") as refused:
        other(HOST, number)
    assert refused.value.exit_code == EXIT_ADDRESS


def test_an_address_that_cannot_be() -> None:
    with pytest.raises(StartError, match="--gateway-port"):
        SharedPort("203.0.113.7", 80, 2, "--gateway-port")
