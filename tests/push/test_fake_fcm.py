"""The fake is itself verified: a fake that is too kind proves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from push.fcm import FcmSender
from push.sender import Address, Notification, Sent
from tests.support.fake_fcm import PROJECT, FakeFcm, running_fcm
from tests.support.fcm_devices import Device
from tests.support.fcm_faults import Fault
from tests.support.loopback import LeftTheMachine, only_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
async def fcm() -> AsyncIterator[FakeFcm]:
    async with running_fcm() as fake:
        yield fake


async def post(fcm: FakeFcm, body: Any, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=fcm.url, trust_env=False) as client:
        return await client.post(f"/v1/projects/{PROJECT}/messages:send", json=body, headers=headers)


async def test_strangers_get_no_token_and_cannot_send(fcm: FakeFcm) -> None:
    async with httpx.AsyncClient(base_url=fcm.url, trust_env=False) as client:
        refused = await client.post("/token", data={"grant_type": "x", "assertion": "y"})
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        assert (await client.get("/elsewhere")).status_code == 404
    for header in ({}, {"authorization": "Bearer guessed"}):
        answer = await post(fcm, {"message": {"token": "t"}}, **header)
        assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert fcm.received == []


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"message": {"notification": {}}},
        {"message": {"token": "t", "fid": "f"}},
        {"message": {"token": "t", "data": {"a": 1}}},
        {"message": {"token": "t", "notification": {"body": "x" * 4096}}},
    ],
)
async def test_it_refuses_what_fcm_refuses(
    fcm: FakeFcm, address: Address, notification: Notification, body: Any
) -> None:
    sender = FcmSender(fcm.credentials, endpoint=fcm.url)
    await sender.send(address, notification)
    await sender.close()
    answer = await post(fcm, body, authorization=fcm.received[0].headers["authorization"])
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert not fcm.received[-1].delivered


def test_a_phone_shows_one_notification_a_tag_and_keeps_untagged_ones_apart() -> None:
    phone = Device()
    loud = {"notification": {"title": "a", "body": "1"}, "android": {"notification": {"tag": "c", "sound": "default"}}}
    quiet = {"notification": {"title": "a", "body": "2"}, "android": {"notification": {"tag": "c"}}}
    phone.deliver(loud)
    phone.deliver(quiet)
    assert [(s.body, s.rang, s.replaced) for s in phone.drawer.values()] == [("2", 1, 1)]
    phone.deliver({"notification": {"title": "b"}})
    phone.deliver({"notification": {"title": "b"}})
    assert len(phone.drawer) == 3
    phone.deliver({"data": {"type": "clear", "conversation": "c"}, "apns": {"payload": {"aps": {"badge": 0}}}})
    assert "c" not in phone.drawer
    assert phone.badge == 0


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="third_party_auth"):
        Fault("gremlins")


@pytest.mark.parametrize("tls", [False, True])
async def test_as_a_program_it_is_scripted_over_http(tls: bool, address: Address, notification: Notification) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.fake_fcm", "--port", "0", *(["--tls"] if tls else []),
        cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        async with asyncio.timeout(30):
            ready = json.loads(await program.stdout.readline())
        assert ready["project"] == PROJECT
        sender = FcmSender(ready["credentials"], endpoint=ready["url"], ca=ready["ca"])
        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=ready["ca"]) if tls else True
        async with httpx.AsyncClient(base_url=f"{ready['url']}/control", trust_env=False, verify=verify) as control:
            for path, told in (
                ("faults", {"name": "unavailable", "times": 2, "deliver": True, "retry_after": "4"}),
                ("token-faults", {"name": "unavailable"}),
            ):
                assert (await control.post(f"/{path}", json=told)).json() == {"ok": True}
            outcomes = [await sender.send(address, notification) for _ in range(4)]
            assert [isinstance(outcome, Sent) for outcome in outcomes] == [False, False, False, True]
            messages = (await control.get("/messages")).json()
            assert [m["answer"] for m in messages] == ["unavailable", "unavailable", "accepted"]
            [shown] = (await control.get("/devices")).json()["token-of-mia"]["drawer"].values()
            assert (shown["rang"], shown["replaced"]) == (3, 2)

            await control.post("/unregister", json={"target": "token-of-mia"})
            assert "UNREGISTERED" in str(await sender.send(address, notification))
            await control.post("/reset")
            await control.post("/revoke")
            assert isinstance(await sender.send(address, notification), Sent)
            assert len((await control.get("/messages")).json()) == 1
            for path, told in (("faults", {"name": "gremlins"}), ("unregister", {})):
                assert (await control.post(f"/{path}", json=told)).status_code == 400
            assert (await control.get("/nothing")).status_code == 404
        await sender.close()
        program.terminate()
        async with asyncio.timeout(10):
            assert await program.wait() == 0
        assert not Path(ready["credentials"]).exists()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


def connect_and_swallow_the_refusal(family: socket.AddressFamily, target: tuple[Any, ...]) -> None:
    """As client libraries do, which retry or wrap whatever happens."""
    with socket.socket(family) as outgoing, contextlib.suppress(LeftTheMachine):
        outgoing.settimeout(0.01)
        outgoing.connect(target)


@pytest.mark.parametrize("target", [("192.0.2.1", 443), ("2001:db8::1", 443, 0, 0)])
def test_the_guard_sees_a_connection_that_leaves(target: tuple[Any, ...]) -> None:
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with pytest.raises(LeftTheMachine, match="beyond loopback"), only_loopback():
        connect_and_swallow_the_refusal(family, target)


def test_the_guard_sees_a_name_being_looked_up() -> None:
    with (
        pytest.raises(LeftTheMachine, match=r"oauth2\.googleapis\.com"),
        only_loopback(),
        pytest.raises(LeftTheMachine),
    ):
        socket.getaddrinfo("oauth2.googleapis.com", 443)


def test_the_guard_lets_this_machine_be() -> None:
    with only_loopback(), socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
        socket.getaddrinfo("localhost", 80)
