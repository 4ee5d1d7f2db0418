"""The addresses a process listens on, alone or shared with its siblings."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import TYPE_CHECKING

from server.cli.process import EXIT_ADDRESS, StartError

if TYPE_CHECKING:
    from server.config import Config

BACKLOG = 2048


def bind(host: str, port: int, option: str = "--port") -> socket.socket:
    """A bound socket, before anything else is started: a taken port is one clear line, not half a server.

    Raises StartError (`EXIT_ADDRESS`).
    """
    sock = _socket(host)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise _taken(host, port, option, error) from None
    sock.setblocking(False)
    return sock


def base_url(config: Config, sock: socket.socket) -> str:
    """Where the doors are, for a person on this machine."""
    if config.http.public_url is not None:
        return config.http.public_url
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class SharedPort:
    """One address for several processes: a listening socket for each of them, all held open here as well.

    Why one each (SO_REUSEPORT) and not one for all to accept from: the kernel wakes the process that came last to wait,
    so of a thousand sockets that four idle processes took from one queue one had 24 and one 416, and a socket stays
    where it was accepted for hours. Over queues of their own it deals by the connection's address: 223 to 272.

    Why they are opened and held by the supervisor and not by the processes: a queue that a process closes resets who
    waits in it. Held here it outlives the process, and its successor accepts them. A process that does not come
    back at all is taken out (`rest`), so that nobody waits for it.

    Where the kernel does not deal (anything but Linux) it is one socket for all.
    """

    def __init__(self, host: str, port: int, processes: int, option: str = "--port") -> None:
        """Raises StartError (`EXIT_ADDRESS`) when the address is taken, be it by another deskbell."""
        first = bind(host, port, option)
        try:
            # Alone first, and at once: whoever may share an address shares it with every process of the same user,
            # and two installations that answer in turn are worse than one that does not start.
            first.listen(BACKLOG)
        except OSError as error:
            first.close()
            raise _taken(host, port, option, error) from None
        self._address: tuple[str, int] = first.getsockname()[:2]
        self._dealt = sys.platform == "linux"
        if self._dealt:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self.sockets = [first, *(self._another(host, option) for _ in range(processes - 1))]
        else:
            self.sockets = [first] * processes

    def _another(self, host: str, option: str) -> socket.socket:
        sock = _socket(host)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock.bind(self._address)
            sock.listen(BACKLOG)
        except OSError as error:
            raise _taken(*self._address, option, error) from None
        sock.setblocking(False)
        return sock

    def rest(self, number: int) -> None:
        """The process has come to nothing: no new connections for it. Who waits is reset, and comes to another."""
        sock = self.sockets[number]
        # On Linux a shutdown ends listening, and what is bound may listen again. Of a socket that does not listen it
        # would shut what it accepts later.
        if self._dealt and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.shutdown(socket.SHUT_RDWR)

    def resume(self, number: int) -> None:
        """The process is started again: it will listen when it is ready."""
        if self._dealt:
            # What rests keeps a port that was asked for and loses one that was dealt out (tcp_disconnect).
            with contextlib.suppress(OSError):
                self.sockets[number].bind(self._address)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


def _socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _taken(host: str, port: int, option: str, error: Exception) -> StartError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StartError(
        f"cannot listen on {host}:{port} ({reason}). Choose another with {option}, or stop what uses it.", EXIT_ADDRESS
    )
