"""One connection to one Redis server, with a limit on how long anything but listening may take.

redis-py makes the connection (URL, TLS, log-in); its pools, retries and timeouts are left away, because each of them
can hold a caller for longer than the bus may be silent about trouble. Times here are the loop's own, as I/O's are.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

CONNECT_WITHIN_S = 1.0
SEND_WITHIN_S = 2.0
ANSWER_WITHIN_S = 2.0
EXPECTED = (
    "expected redis://[user:password@]host[:port][/db], rediss://… or unix:///path/of/socket, "
    "special characters of a password percent-encoded"
)

Address = tuple[str, int]
"""Host and port of a server that a cluster named."""


class LineDown(Exception):
    """The connection is gone or could not be made. `str()` is a few words for a person, without passwords."""


class Refused:
    """Redis answered with an error."""

    __slots__ = ("moved", "reason")

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.moved = reason.startswith(("MOVED ", "ASK "))


def command(*words: bytes) -> bytes:
    """A command as Redis reads it (RESP, "Sending commands to a Redis server")."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Door:
    """How to reach the servers behind one URL. Raises ValueError for a URL that redis-py does not understand."""

    def __init__(self, url: str) -> None:
        try:
            options: dict[str, Any] = dict(parse_url(url))
        except ValueError:  # its text may show a part of the password
            raise ValueError(EXPECTED) from None
        self._kind: type[Any] = options.pop("connection_class", Connection)
        # Waiting is limited here; a pool's options mean nothing to a connection that is nobody else's.
        for name in ("max_connections", "timeout", "retry_on_timeout", "health_check_interval", "decode_responses"):
            options.pop(name, None)
        self._options = options | {
            "protocol": 2,  # a reader that only ever sees arrays; sharded pub/sub works in it as well
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_WITHIN_S,
        }
        try:
            self._kind(**self._options)
        except TypeError as problem:
            raise ValueError(f"an option of the URL is unknown ({problem})") from None
        self.host = str(options.get("host", "localhost"))

    def describe(self, address: Address | None) -> str:
        """`host:port` or the path of a socket."""
        if address is not None:
            return f"{address[0]}:{address[1]}"
        return str(self._options.get("path") or f"{self.host}:{self._options.get('port', 6379)}")

    async def open(self, address: Address | None = None) -> Line:
        """Connect and log in; None is the server of the URL itself. You must close the line. Raises LineDown."""
        where = {} if address is None else {"host": address[0], "port": address[1]}
        connection = self._kind(**self._options | where)
        line = Line(connection, self.describe(address))
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await connection.connect()
        except TimeoutError:
            await line.close()
            raise LineDown(f"Redis at {line.place} does not answer within {CONNECT_WITHIN_S:g} s") from None
        except (RedisError, OSError) as problem:
            await line.close()
            raise LineDown(f"Redis at {line.place}: {problem}") from None
        except BaseException:
            await line.close()
            raise
        return line


class Line:
    """An open connection. One task may read while another sends."""

    def __init__(self, connection: AbstractConnection, place: str) -> None:
        self._connection: Any = connection  # half of redis-py's methods have no annotations
        self.place = place
        self._closed = False

    async def send(self, commands: bytes) -> None:
        """Hand over to the system. Raises LineDown, also when the far end takes nothing for `SEND_WITHIN_S`."""
        if self._closed or not self._connection.is_connected:  # redis-py would quietly make a new connection
            raise LineDown(f"the connection to Redis at {self.place} is closed")
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self._connection.send_packed_command(commands, check_health=False)
        except TimeoutError:
            raise LineDown(f"Redis at {self.place} takes nothing for {SEND_WITHIN_S:g} s") from None
        except (RedisError, OSError) as problem:
            raise LineDown(f"Redis at {self.place}: {problem}") from None

    async def read(self) -> Any:
        """The next answer or message, however long it takes; `Refused` for an error. Raises LineDown."""
        try:
            return await self._connection.read_response(timeout=math.inf)
        except ResponseError as problem:
            return Refused(_text(problem))
        except (RedisError, OSError) as problem:
            raise LineDown(f"Redis at {self.place}: {problem}") from None

    async def ask(self, *words: bytes) -> Any:
        """One command and its answer. Raises LineDown, also for none within `ANSWER_WITHIN_S` and for an error."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self.send(command(*words))
                answer = await self.read()
        except TimeoutError:
            raise LineDown(f"Redis at {self.place} does not answer within {ANSWER_WITHIN_S:g} s") from None
        if isinstance(answer, Refused):
            raise LineDown(f"Redis at {self.place} refuses {words[0].decode()}: {answer.reason}")
        return answer

    async def close(self) -> None:
        """Let go at once; nothing is waited for."""
        self._closed = True
        await self._connection.disconnect(nowait=True)


def _text(problem: ResponseError) -> str:
    code = problem.status_code  # redis-py takes those it knows off the text
    return f"{code} {problem}" if code else str(problem)
