"""Outgoing calls on aiohttp: about a twentieth of the CPU that httpx takes for the same POST, connections bounded per
host, and a hook where each socket is made, which is where an address can be refused for certain.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from push.retry_after import retry_after_seconds
from server.outgoing.interface import Answered, Refused, Unreachable
from server.outgoing.names import Names
from server.outgoing.signing import signature_headers
from server.outgoing.targets import TargetRefused, why_not, why_not_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from server.clock import Clock
    from server.config_values import Network
    from server.outgoing.interface import Call, Outcome

CONNECT_S = 10.0
"""From the name to the end of the TLS handshake."""
PER_HOST = 32
AT_ONCE = 512
IDLE_S = 4.0
"""Shorter than what common servers keep a connection for (Node: 5 s), so that few calls meet one that just closed."""


class AiohttpOutgoing:
    """`allowed`: networks that may be called though they are not public. `ca`: trusted instead of the system's;
    `lookup`: asked for addresses instead of the system. Belongs to the loop of its first call."""

    def __init__(
        self,
        clock: Clock,
        allowed: Sequence[Network] = (),
        *,
        ca: Path | None = None,
        lookup: Callable[[str, int], list[tuple[Any, ...]]] | None = None,
        connect_s: float = CONNECT_S,
        per_host: int = PER_HOST,
    ) -> None:
        self._clock = clock
        self._allowed = tuple(allowed)
        self._tls = ssl.create_default_context(cafile=ca)
        self._names = Names(self._allowed, lookup)
        self._connect_s = connect_s
        self._per_host = per_host
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def post(self, call: Call) -> Outcome:
        reason = why_not_url(call.url, self._allowed)
        if reason is not None:
            return Refused(reason=f"the URL {reason}")
        headers = {"Content-Type": "application/json", "User-Agent": "Deskbell"} | call.headers
        headers |= signature_headers(call.id, self._clock.now(), call.body, call.secrets)
        try:
            return await self._post(call, headers)
        except aiohttp.ConnectionTimeoutError:
            return Unreachable(reason="no connection in time", sent=False)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, TargetRefused):
                return Refused(reason=str(error.os_error))
            return Unreachable(reason=_why_no_connection(error), sent=False)
        except aiohttp.InvalidURL:
            return Refused(reason="the URL is not one that can be called")
        except TimeoutError:
            return Unreachable(reason=f"no answer within {call.within_s:g} s", sent=True)
        except aiohttp.ClientConnectionError:
            return Unreachable(reason="the connection broke before there was an answer", sent=True)
        except (aiohttp.ClientError, ValueError):
            return Unreachable(reason="the answer is not HTTP", sent=True)

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    async def _post(self, call: Call, headers: dict[str, str]) -> Outcome:
        plain = call.url[:5].lower() == "http:"
        async with self._session(plain).post(
            call.url,
            data=call.body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=call.within_s, connect=min(self._connect_s, call.within_s)),
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > call.most_answer_bytes:
                    response.close()  # whatever else comes: not on our connections
                    break
            return Answered(
                status=response.status,
                body=bytes(body[: call.most_answer_bytes]),
                retry_after=retry_after_seconds(response.headers.get("Retry-After"), now=self._clock.now().timestamp()),
                truncated=len(body) > call.most_answer_bytes,
            )

    def _session(self, plain: bool) -> aiohttp.ClientSession:
        """One for each scheme: what may be connected to differs."""
        scheme = "http" if plain else "https"
        session = self._sessions.get(scheme)
        if session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._tls,
                resolver=_Resolver(self._names, plain),
                use_dns_cache=False,
                socket_factory=_Sockets(self._allowed, plain),
                limit=AT_ONCE,
                limit_per_host=self._per_host,
                keepalive_timeout=IDLE_S,
            )
            session = self._sessions[scheme] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding"),
                trust_env=False,
            )
        return session


class _Resolver(AbstractResolver):
    """Gives a connector only what may be connected to."""

    def __init__(self, names: Names, plain: bool) -> None:
        self._names = names
        self._plain = plain

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in await self._names.addresses(host, port, plain=self._plain)
        ]

    async def close(self) -> None:
        """The names are not ours."""


class _Sockets:
    """Makes the socket for one address, just before it is connected: the last word about the address."""

    def __init__(self, allowed: tuple[Network, ...], plain: bool) -> None:
        self._allowed = allowed
        self._plain = plain

    def __call__(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, where = address
        reason = why_not(where[0], self._allowed, plain=self._plain)
        if reason is not None:
            raise TargetRefused(reason)
        return socket.socket(family, kind, protocol)


def _why_no_connection(error: aiohttp.ClientConnectorError) -> str:
    """In words that say nothing of our network beyond what the URL's owner may know."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name has no address"
    cause = error.os_error
    return "the connection was refused" if isinstance(cause, ConnectionRefusedError) else "no connection"
