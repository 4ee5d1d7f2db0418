"""A guard: while it is up, nothing in this process talks to another machine, threads included.

Use the fixture `loopback_only` (import it into a conftest, or name this module in `pytest_plugins`), or the context
manager. It rests on Python's audit events, so it does not see sockets opened by C libraries such as uvloop's.
"""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"})
_guards: list[list[str]] = []
_installed: list[bool] = []


class LeftTheMachine(AssertionError):
    """Something tried to reach beyond the loopback interface."""


@contextlib.contextmanager
def only_loopback() -> Iterator[None]:
    """Refuse such attempts, and raise LeftTheMachine at the end even if the code under test swallowed the refusal."""
    if not _installed:
        sys.addaudithook(_audit)  # cannot be taken away again, hence the list it looks into
        _installed.append(True)
    attempts: list[str] = []
    _guards.append(attempts)
    try:
        yield
    finally:
        _guards.remove(attempts)
    if attempts:
        raise LeftTheMachine(f"sockets beyond loopback: {', '.join(attempts)}")


@pytest.fixture
def loopback_only() -> Iterator[None]:
    """No socket of this test leaves the machine."""
    with only_loopback():
        yield


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _guards or event not in _EVENTS:
        return
    host = arguments[0] if event in ("socket.getaddrinfo", "socket.gethostbyname") else _host(arguments[1])
    if host is None or _is_loopback(host):
        return
    _guards[-1].append(f"{event} {host}")  # the innermost, so that a test can provoke an attempt under a guard
    raise LeftTheMachine(f"{event} {host}: tests stay on this machine")


def _host(address: Any) -> str | None:
    # Unix sockets have a path (str or bytes), netlink and the like other tuples; a connected datagram none.
    return address[0] if isinstance(address, tuple) and address and isinstance(address[0], str) else None


def _is_loopback(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in ("", "localhost"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return False
