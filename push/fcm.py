"""Firebase Cloud Messaging, through firebase-admin (the extra `fcm`). How and why is docs/push.md.

On the way of one notification: `FcmSender.send` → the payload (payload.py) → an access token (access_token.py) → one
request on a shared connection (firebase.py) → an `Outcome` (sender.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from push.payload import fcm_message
from push.sender import ConfigFault, Retry
from push.service_account import ServiceAccount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    import httpx

    from push.sender import Address, Notification, Outcome

FCM_ENDPOINT = "https://fcm.googleapis.com"
IDLE_SECONDS = 60.0
"""How long an unused connection is kept. Longer than between two pushes of a busy desk, shorter than a NAT forgets."""


class FcmSender:
    """A `Sender` for addresses of provider `fcm`, kinds `token` and `fid`. Belongs to the event loop that sends first.

    credentials: the service account: parsed JSON, its text, or a path. Its `token_uri` is honoured.
    endpoint: stands in for `https://fcm.googleapis.com`; `http://` is allowed and then speaks HTTP/1.1.
    timeout: seconds for one `send`, access token included.
    ca: a PEM file of the authorities to trust instead of the system's. Verification cannot be turned off.
    clock: Unix seconds.

    `url` is where messages are posted. Proxies named in the environment are not used, and nothing is started or opened
    before the first `send`.
    Raises ImportError if the extra is missing, ValueError naming what is wrong with the arguments, OSError if a file
    cannot be read.
    """

    def __init__(
        self,
        credentials: Mapping[str, Any] | str | Path,
        *,
        endpoint: str | None = None,
        timeout: float = 10.0,
        ca: str | Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            from push import access_token, firebase
        except ImportError as error:
            raise ImportError(
                f"sending through FCM needs firebase-admin, and {error.name} is missing: pip install 'deskbell[fcm]'",
                name=error.name,
            ) from error
        if timeout <= 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
        origin = _origin(endpoint or FCM_ENDPOINT)
        account = ServiceAccount.load(credentials)
        self._firebase = firebase
        self._refused = access_token.TokenRefused
        self._unavailable = access_token.TokenUnavailable
        self.url = firebase.send_url(origin, account.project_id)
        self._timeout = timeout
        self._clock = clock
        self._tls = _tls(self.url, ca)
        # A context of its own: httpx sets the protocols it offers on the context it is given, here from a thread.
        self._access = access_token.AccessToken(account, timeout=timeout, tls=_tls(account.token_uri, ca), clock=clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: _Connection | None = None
        self._retired: set[_Connection] = set()
        self._closed = False

    async def send(self, address: Address, notification: Notification, *, quiet: bool = False) -> Outcome:
        """One attempt; see push/sender.py. Two requests only if FCM answers 401, which sends nothing, to the first."""
        self._check(address)
        message = fcm_message(address, notification, quiet=quiet, now=self._clock())
        posting = False

        async def attempt() -> Outcome:
            nonlocal posting
            token = await self._access.get()
            posting = True
            try:
                return await self._post(token, message)
            except self._firebase.Unauthenticated:
                posting = False
                self._access.forget(token)
                raise

        try:
            async with asyncio.timeout(self._timeout):
                try:
                    return await attempt()
                except self._firebase.Unauthenticated:
                    return await attempt()
        except self._firebase.Unauthenticated as error:
            return ConfigFault(f"{error}; FCM does not accept this service account")
        except TimeoutError:
            waited_for = "FCM" if posting else "an access token"
            return Retry(f"no answer from {waited_for} within {self._timeout:g} s", ambiguous=posting)
        except self._refused as error:
            return ConfigFault(str(error))
        except self._unavailable as error:
            return Retry(str(error), retry_after=error.retry_after)

    async def close(self) -> None:
        """See push/sender.py. Sends still under way end with `Retry`."""
        if self._closed:
            return
        self._closed = True
        self._access.close()
        current = set() if self._connection is None else {self._connection}
        for connection in current | self._retired:
            await connection.client.aclose()

    async def _post(self, token: str, message: dict[str, Any]) -> Outcome:
        async with self._borrowed() as connection:
            try:
                return await self._firebase.post(connection.client, self.url, token, message, now=self._clock())
            except self._firebase.BrokenConnection as error:
                connection.broken = True
                return error.outcome
            except asyncio.CancelledError:
                # A stream given up on stays open at the other end and counts against its limit for ever; after enough
                # of them no send would start. So the connection goes as soon as the others on it have finished.
                connection.broken = True
                raise

    @contextlib.asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[_Connection]:
        if self._closed:
            raise self._unavailable("the sender was closed")
        connection = self._connection
        if connection is None or connection.broken:
            connection = self._connection = _Connection(self._client())
        connection.borrowers += 1
        try:
            yield connection
        finally:
            connection.borrowers -= 1
            if connection.broken:
                self._retired.add(connection)
                if connection.borrowers == 0:
                    await connection.client.aclose()
                    self._retired.discard(connection)

    def _client(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(
            http2=True,
            verify=self._tls,
            timeout=self._timeout,
            limits=httpx.Limits(max_connections=None, keepalive_expiry=IDLE_SECONDS),
            follow_redirects=False,  # the access token is for this host alone
            trust_env=False,
        )

    def _check(self, address: Address) -> None:
        if address.provider != "fcm" or address.kind not in ("token", "fid"):
            raise ValueError(
                f"address is {address.provider}/{address.kind}; FcmSender serves provider 'fcm', kind 'token' or 'fid'"
            )
        if not isinstance(address.value, str) or not address.value:
            raise ValueError(f"address.value must be a non-empty string for an FCM {address.kind}")
        if self._closed:
            raise RuntimeError("this FcmSender is closed; create a new one to send")
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise RuntimeError("this FcmSender belongs to another event loop; create one per loop")
        self._loop = loop


class _Connection:
    """An httpx client and how many sends are using it. `broken`: nobody else may start on it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.borrowers = 0
        self.broken = False


def _origin(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"endpoint must be like https://host or http://host:port, without a path, not {endpoint!r}")
    return f"{parts.scheme}://{parts.netloc}"


def _tls(url: str, ca: str | Path | None) -> ssl.SSLContext:
    if url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; were it, it would trust nobody
    if ca is not None:
        return ssl.create_default_context(cafile=str(ca))
    context = ssl.create_default_context()  # the system's authorities, SSL_CERT_FILE honoured
    if not context.cert_store_stats()["x509_ca"]:
        import certifi

        context.load_verify_locations(cafile=certifi.where())  # slim containers have none of their own
    return context
