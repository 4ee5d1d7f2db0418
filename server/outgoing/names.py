"""Names to addresses, without those that may not be called.

On threads of its own: a name server that does not answer holds a thread for many seconds, and the loop's common ones
are needed for passwords and files. They are daemons, so that none of them holds up the end of the process either.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from server.outgoing.targets import TargetRefused, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.config_values import Network

AT_ONCE = 64


class Names:
    """Resolves names. `lookup`: what `socket.getaddrinfo` answers for a host and a port."""

    def __init__(self, allowed: Sequence[Network], lookup: Callable[[str, int], list[tuple[Any, ...]]] | None) -> None:
        self._allowed = allowed
        self._lookup = lookup or _ask_system
        self._room = asyncio.Semaphore(AT_ONCE)

    async def addresses(self, host: str, port: int, *, plain: bool) -> list[tuple[int, str]]:
        """(family, address) of `host`, those that may be connected to. Raises TargetRefused if there are others only,
        OSError if there is none."""
        found = await self._ask(host, port)
        given = list(dict.fromkeys((family, sockaddr[0]) for family, _, _, _, sockaddr in found))
        reasons = [why_not(address, self._allowed, plain=plain) for _, address in given]
        good = [each for each, reason in zip(given, reasons, strict=True) if reason is None]
        if given and not good:
            raise TargetRefused(f"the name leads to no address that may be called: {reasons[0]}")
        return good

    async def _ask(self, host: str, port: int) -> list[tuple[Any, ...]]:
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

        def settle(found: list[tuple[Any, ...]], problem: OSError | None) -> None:
            self._room.release()  # only now: whoever asked may have left, the thread has not
            if answer.done():
                return
            if problem is not None:
                answer.set_exception(problem)
            else:
                answer.set_result(found)

        def ask() -> None:
            found: list[tuple[Any, ...]] = []
            problem: OSError | None = None
            try:
                found = self._lookup(host, port)
            except OSError as error:
                problem = error
            except Exception as error:  # a label that is too long is a UnicodeError
                problem = OSError(str(error))
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, found, problem)

        threading.Thread(target=ask, name="name lookup", daemon=True).start()
        return await answer


def _ask_system(host: str, port: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
