"""Access tokens for a service account, fetched beside the event loop.

google-auth refreshes synchronously inside the first request that needs it (a token endpoint that takes 2 s stalls every
socket of the process for 2 s), sleeps between retries of its own, and may start a thread that carries the token to
another Google endpoint. Here one short-lived thread asks one URL once; everybody who needs the token waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from push.retry_after import retry_after_seconds

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from push.service_account import ServiceAccount

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REFRESH_MARGIN = 300.0
"""Seconds before expiry at which a new token is fetched; Google's tokens live for 3,600."""
CLOCK_SLACK = 10.0
"""Seconds before expiry from which a token is taken for expired: it has to live until the request arrives."""
RETRY_WHILE_VALID = 30.0
"""Seconds between attempts to replace a token that still works, so that an outage of the endpoint slows nobody down."""


class TokenRefused(Exception):
    """The endpoint understood and said no: key revoked, account deleted, clock wrong. Trying again will not help."""


class TokenUnavailable(Exception):
    """No token this time: unreachable, overloaded, not in time. `retry_after`: seconds, if the endpoint asked."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    expires_at: float


class AccessToken:
    """The current access token of `account`. Belongs to one event loop.

    timeout: seconds for each step of the HTTP exchange (connecting, writing, each read) in the thread.
    tls: a context no other client uses, since httpx sets its protocols on it.
    clock: Unix seconds.
    """

    def __init__(
        self, account: ServiceAccount, *, timeout: float, tls: ssl.SSLContext, clock: Callable[[], float]
    ) -> None:
        self._account = account
        self._timeout = timeout
        self._tls = tls
        self._clock = clock
        self._token: _Token | None = None
        self._refresh_at = 0.0
        self._flight: asyncio.Future[_Token] | None = None
        self._flight_started = 0.0
        self._closed = False

    async def get(self) -> str:
        """A token that works now. Waits only if there is none: an old one is replaced in the background.

        Raises TokenRefused or TokenUnavailable. Takes as long as the endpoint does: bound it with `asyncio.timeout`.
        Cancelling one waiter does not disturb the others.
        """
        now, current = self._clock(), self._token
        if current is not None and now < current.expires_at - CLOCK_SLACK:
            if now >= self._refresh_at:
                self._fly()
            return current.value
        if self._closed:
            raise TokenUnavailable("the sender was closed")
        return (await asyncio.shield(self._fly())).value

    def forget(self, token: str) -> None:
        """Do not hand out `token` again: the provider refused it. Harmless if it was replaced meanwhile."""
        if self._token is not None and self._token.value == token:
            self._token = None

    def close(self) -> None:
        """Whoever waits gets TokenUnavailable; a thread still fetching ends by its own timeouts."""
        self._closed = True
        if self._flight is not None and not self._flight.done():
            self._flight.set_exception(TokenUnavailable("the sender was closed"))

    def _fly(self) -> asyncio.Future[_Token]:
        """The exchange under way, or a new one."""
        loop = asyncio.get_running_loop()
        # An endpoint that sends a byte now and then never runs into a socket timeout: leave that thread behind.
        if self._flight is not None and loop.time() - self._flight_started < 2 * self._timeout:
            return self._flight
        flight: asyncio.Future[_Token] = loop.create_future()
        flight.add_done_callback(self._landed)

        def settle(token: _Token | None, error: Exception | None) -> None:
            if flight.done():
                return
            if token is not None:
                flight.set_result(token)
            else:
                flight.set_exception(error or TokenUnavailable("no token"))

        def fetch() -> None:
            token, failure = None, None
            try:
                token = self._fetch()
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
                loop.call_soon_threadsafe(settle, token, failure)

        # A daemon of its own rather than the loop's executor: a hanging endpoint must neither take the slots that name
        # resolution needs nor hold up the end of the process.
        threading.Thread(target=fetch, name="push-access-token", daemon=True).start()
        self._flight, self._flight_started = flight, loop.time()
        self._refresh_at = self._clock() + RETRY_WHILE_VALID  # from the attempt, not from whoever found it under way
        return flight

    def _landed(self, flight: asyncio.Future[_Token]) -> None:
        # Reading the exception also keeps asyncio from reporting one that nobody waits for any more.
        failed = flight.cancelled() or flight.exception() is not None
        if self._flight is not flight:
            return
        self._flight = None
        if not failed:
            self._token = fresh = flight.result()
            lifetime = fresh.expires_at - self._clock()
            self._refresh_at = fresh.expires_at - min(REFRESH_MARGIN, lifetime / 2)

    def _fetch(self) -> _Token:
        """One exchange of an assertion for a token (RFC 7523 section 2.1). Runs in the thread."""
        uri, asked_at = self._account.token_uri, self._clock()
        form = {"grant_type": GRANT_TYPE, "assertion": self._account.assertion(asked_at)}
        try:
            with httpx.Client(verify=self._tls, timeout=self._timeout, trust_env=False) as client:
                response = client.post(uri, data=form)
        except httpx.HTTPError as error:
            raise TokenUnavailable(f"{uri}: {type(error).__name__}: {error}") from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        fields = answer if isinstance(answer, dict) else {}
        status = response.status_code
        if status in (408, 429) or status >= 500:
            wait = retry_after_seconds(response.headers.get("retry-after"), now=self._clock())
            raise TokenUnavailable(f"{uri} answered {status}", wait)
        if status != 200:
            said = " ".join(str(fields[name]) for name in ("error", "error_description") if fields.get(name))
            raise TokenRefused(
                f"{uri} answered {status} to service account {self._account.client_email}: {said[:200] or 'no reason'}"
            )
        value, lifetime = fields.get("access_token"), fields.get("expires_in", 3600)
        if not isinstance(value, str) or not value or not isinstance(lifetime, int | float):
            raise TokenUnavailable(f"{uri} answered 200 without a usable access_token")
        return _Token(value, asked_at + float(lifetime))
