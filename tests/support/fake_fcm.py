"""A Firebase Cloud Messaging that behaves, and misbehaves on request: OAuth token endpoint, v1 `messages:send`, phones.

In a test:  `async with running_fcm() as fcm: FcmSender(fcm.credentials, endpoint=fcm.url)`.
As a program:  `python -m tests.support.fake_fcm --port 0 [--tls]` prints one line when ready,
`{"url", "project", "credentials": path of a service-account JSON, "ca": path or null}`, and runs until SIGINT or
SIGTERM.

Both listen to the same control endpoint, JSON in and out:
    POST /control/faults        {"name", "times"?, "deliver"?, "delay"?, "retry_after"?, "status"?, "body"?}: next sends
    POST /control/token-faults  the same for the token endpoint
    POST /control/unregister    {"target"}: that token or installation id is gone
    POST /control/revoke        every access token issued so far is refused from now on
    POST /control/reset         forget everything above and below
    GET  /control/messages      [{"target", "message", "answer", "delivered", "protocol", …}], oldest first
    GET  /control/devices       what each phone shows (tests/support/fcm_devices.py)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import signal
import tempfile
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from tests.support.fcm_devices import Devices
from tests.support.fcm_faults import Fault, google_error
from tests.support.provider_server import Answer, Drop, ProviderServer, Request
from tests.support.tls import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROJECT = "kestrel-rides"
PAYLOAD_LIMIT = 4096
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Received:
    """One `messages:send`. `answer`: `accepted`, or the name of the error; `delivered`: the phone got it."""

    target: str
    message: dict[str, Any]
    answer: str
    delivered: bool
    protocol: str
    connection: int
    headers: dict[str, str]
    body_bytes: int


class FakeFcm:
    """The provider's state. `url`, `credentials`, `credentials_path`, `ca_path` tell a sender how to reach it.

    received: every `messages:send` that arrived with a valid access token, oldest first.
    token_requests: how many tokens were asked for. token_lifetime: seconds the next tokens live.
    """

    def __init__(self, folder: Path, *, port: int = 0, tls: bool = False, max_streams: int = 100) -> None:
        authority = Authority(folder) if tls else None
        self.ca_path = authority.ca_path if authority else None
        self.credentials_path = folder / "service-account.json"
        self.received: list[Received] = []
        self.devices = Devices()
        self.token_requests = 0
        self.token_lifetime = 3600
        _public_key()  # loading it takes 50 ms once, which must not look like a stall of the code under test
        self._tls = tls
        self._faults: deque[Fault] = deque()
        self._token_faults: deque[Fault] = deque()
        self._gone: set[str] = set()
        self._access_tokens: set[str] = set()
        self._changed = asyncio.Condition()
        context = authority.server_context("h2", "http/1.1") if authority else None
        self._server = ProviderServer(self._handle, port=port, tls=context, max_streams=max_streams)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.port}"

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return self._server.connections

    @property
    def credentials(self) -> dict[str, str]:
        """A service account this fake accepts, `token_uri` included."""
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "fake-key-1",
            "private_key": _key_pem(),
            "client_email": f"push@{PROJECT}.iam.gserviceaccount.com",
            "token_uri": f"{self.url}/token",
        }

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[FakeFcm]:
        """Serve until the block is left; writes `credentials_path`."""
        async with self._server.listening():
            self.credentials_path.write_text(json.dumps(self.credentials), encoding="utf-8")
            yield self

    def fail(self, *faults: Fault, times: int = 1) -> None:
        """The next sends meet these faults, in order, `times` over; afterwards all is well again."""
        self._faults.extend(faults * times)

    def fail_token(self, *faults: Fault, times: int = 1) -> None:
        """The same for the token endpoint."""
        self._token_faults.extend(faults * times)

    def unregister(self, target: str) -> None:
        """The app was removed from that phone: 404 UNREGISTERED from now on."""
        self._gone.add(target)

    def revoke(self) -> None:
        """Access tokens issued so far are refused with 401 from now on."""
        self._access_tokens.clear()

    def reset(self) -> None:
        """Forget scripted faults, what was received, and what the phones show. Access tokens stay valid."""
        self._faults.clear()
        self._token_faults.clear()
        self._gone.clear()
        self.received.clear()
        self.devices = Devices()
        self.token_requests = 0

    async def wait_for(self, count: int, *, within: float = 10.0) -> list[Received]:
        """`received` once it holds `count` messages. Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def wait_for_tokens(self, count: int, *, within: float = 10.0) -> None:
        """Return once `count` access tokens were asked for. Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: self.token_requests >= count)

    async def _handle(self, request: Request) -> Answer:
        if request.path.startswith("/control/"):
            return self._control(request)
        if request.method == "POST" and request.path == "/token":
            return await self._token(request)
        if request.method == "POST" and request.path == f"/v1/projects/{PROJECT}/messages:send":
            return await self._send(request)
        return Answer(404, b"<html>Not found</html>", {"content-type": "text/html"})

    async def _token(self, request: Request) -> Answer:
        async with self._changed:
            self.token_requests += 1
            self._changed.notify_all()
        fault = self._token_faults.popleft() if self._token_faults else None
        if fault is not None:
            await _suffer(fault)
            if fault.name != "slow":
                return fault.answer(token_endpoint=True)
        form = {name: texts[0] for name, texts in parse_qs(request.body.decode()).items()}
        try:
            if form.get("grant_type") != GRANT_TYPE:
                raise ValueError("grant_type")
            claims = jwt.decode(form.get("assertion", ""), _public_key(), algorithms=["RS256"]).claims
            if claims["aud"] != f"{self.url}/token" or claims["exp"] - claims["iat"] > 3600 or not claims["scope"]:
                raise ValueError("claims")
        except (JoseError, KeyError, ValueError):
            return Fault("invalid_grant").answer(token_endpoint=True)
        access_token = f"fake-access-{self.token_requests}"
        self._access_tokens.add(access_token)
        return _json({"access_token": access_token, "expires_in": self.token_lifetime, "token_type": "Bearer"})

    async def _send(self, request: Request) -> Answer:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if bearer not in self._access_tokens:
            return Fault("unauthenticated").answer()
        message, complaint = _validate(request.body)
        target = str(message.get("token") or message.get("fid") or "")
        if complaint is not None:
            await self._note(request, target, message, "invalid_argument", delivered=False)
            status, body = google_error("invalid_argument", complaint)
            return _json(body, status)
        fault = self._faults.popleft() if self._faults else None
        if fault is None and target in self._gone:
            fault = Fault("unregistered")
        if fault is None:
            await self._note(request, target, message, "accepted", delivered=True)
        else:
            await self._note(request, target, message, fault.name, delivered=fault.deliver or fault.name == "slow")
            await _suffer(fault)
            if fault.name != "slow":
                return fault.answer()
        return _json({"name": f"projects/{PROJECT}/messages/{len(self.received)}"})

    async def _note(
        self, request: Request, target: str, message: dict[str, Any], answer: str, *, delivered: bool
    ) -> None:
        received = Received(
            target, message, answer, delivered, request.protocol, request.connection, request.headers, len(request.body)
        )
        if delivered:
            self.devices[target].deliver(message)
        async with self._changed:
            self.received.append(received)
            self._changed.notify_all()

    def _control(self, request: Request) -> Answer:
        try:
            fields = json.loads(request.body or b"{}")
            match request.method, request.path.removeprefix("/control/"):
                case "GET", "messages":
                    return _json([asdict(received) for received in self.received])
                case "GET", "devices":
                    return _json(self.devices.as_json())
                case "POST", "faults":
                    times = fields.pop("times", 1)
                    self.fail(Fault(**fields), times=times)
                case "POST", "token-faults":
                    times = fields.pop("times", 1)
                    self.fail_token(Fault(**fields), times=times)
                case "POST", "unregister":
                    self.unregister(fields["target"])
                case "POST", "revoke":
                    self.revoke()
                case "POST", "reset":
                    self.reset()
                case _:
                    return _json({"error": f"no control at {request.method} {request.path}"}, 404)
        except (ValueError, TypeError, KeyError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)
        return _json({"ok": True})


@contextlib.asynccontextmanager
async def running_fcm(*, port: int = 0, tls: bool = False, max_streams: int = 100) -> AsyncIterator[FakeFcm]:
    """A fake FCM on the loopback interface, in this event loop, with a temporary folder of its own."""
    with tempfile.TemporaryDirectory(prefix="fake-fcm-") as folder:
        async with FakeFcm(Path(folder), port=port, tls=tls, max_streams=max_streams).listening() as fcm:
            yield fcm


async def _suffer(fault: Fault) -> None:
    if fault.delay:
        await asyncio.sleep(fault.delay)
    if fault.name == "drop":
        raise Drop
    if fault.name == "hang":
        await asyncio.Event().wait()


def _validate(body: bytes) -> tuple[dict[str, Any], str | None]:
    """The message and FCM's complaint about it, if any."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return {}, "Invalid JSON payload received."
    if sum(kind in message for kind in ("token", "fid", "topic", "condition")) != 1:
        return message, "Recipient of the message is not set, or set twice."
    if any(not isinstance(text, str) for text in message.get("data", {}).values()):
        return message, "Invalid value at 'message.data': must be strings."
    content = {name: part for name, part in message.items() if name not in ("token", "fid")}
    if len(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()) > PAYLOAD_LIMIT:
        return message, "Android message is too big"
    return message, None


def _json(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json; charset=UTF-8"})


@functools.cache
def _key_pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@functools.cache
def _public_key() -> RSAKey:
    return RSAKey.import_key(_key_pem())


async def _main(port: int, tls: bool) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with running_fcm(port=port, tls=tls) as fcm:
        ready = {
            "url": fcm.url,
            "project": PROJECT,
            "credentials": str(fcm.credentials_path),
            "ca": str(fcm.ca_path) if fcm.ca_path else None,
        }
        print(json.dumps(ready), flush=True)
        await stopped.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A fake Firebase Cloud Messaging; see the top of its source.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--tls", action="store_true", help="HTTP/2 and HTTP/1.1 over TLS instead of plain HTTP/1.1")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.port, arguments.tls))
