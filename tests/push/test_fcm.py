"""FcmSender against a fake FCM over real sockets: the traps of docs/push.md, one by one."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import push
from push.fcm import FcmSender, _tls
from push.sender import Address, ConfigFault, Notification, Retry, Sent
from tests.support.fake_fcm import PROJECT, FakeFcm, running_fcm
from tests.support.fcm_faults import Fault

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_accepted_message_reaches_the_phone(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    assert await sender.send(address, notification) == Sent(f"projects/{PROJECT}/messages/1")
    [received] = fcm.received
    assert received.protocol == ("HTTP/2" if fcm.url.startswith("https") else "HTTP/1.1")
    shown = fcm.devices["token-of-mia"].drawer["conversation-1"]
    assert (shown.title, shown.body, shown.rang, shown.data["seq"]) == ("Anna", "Your driver is on the way", 1, "7")
    assert fcm.devices["token-of-mia"].badge == 3


@pytest.mark.parametrize("kind", ["token", "fid"])
async def test_an_address_has_a_kind_and_tokens_do_not_warn(
    fcm: FakeFcm, sender: FcmSender, notification: Notification, kind: Any
) -> None:
    # Warnings are errors here, and firebase-admin's own constructor warns about `token`.
    assert isinstance(await sender.send(Address("fcm", kind, "x" * 30), notification), Sent)
    assert fcm.received[0].message[kind] == "x" * 30


async def test_a_hundred_503s_then_200_works(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    fcm.fail(Fault("unavailable"), times=100)
    for _ in range(100):
        assert isinstance(await sender.send(address, notification), Retry)
    assert isinstance(await sender.send(address, notification), Sent)
    assert len(fcm.received) == 101, "one request a send: firebase-admin's own retries are off"


async def test_sends_given_up_on_do_not_use_up_the_connection(
    fcm: FakeFcm, address: Address, notification: Notification
) -> None:
    sender = FcmSender(fcm.credentials, endpoint=fcm.url, ca=fcm.ca_path, timeout=0.15)
    try:
        while not isinstance(await sender.send(address, notification), Sent):
            pass  # the first one includes handshakes and an access token
        fcm.fail(Fault("hang"), times=10)
        outcomes = await asyncio.gather(*(sender.send(address, notification) for _ in range(4)))
        outcomes += [await sender.send(address, notification) for _ in range(6)]
        assert all(isinstance(outcome, Retry) and outcome.ambiguous for outcome in outcomes)
        started = time.monotonic()
        while not isinstance(await sender.send(address, notification), Sent):
            assert time.monotonic() - started < 10, "no send gets through after some were given up"
    finally:
        await sender.close()


async def test_accept_then_drop_is_ambiguous_and_its_quiet_repeat_replaces_the_first(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    fcm.fail(Fault("drop", deliver=True))
    first = await sender.send(address, notification)
    assert isinstance(first, Retry)
    assert first.ambiguous
    assert isinstance(await sender.send(address, notification, quiet=first.ambiguous), Sent)
    drawer = fcm.devices["token-of-mia"].drawer
    assert [(tag, shown.rang, shown.replaced) for tag, shown in drawer.items()] == [("conversation-1", 1, 1)]


async def test_503_that_delivered_looks_like_one_that_did_not(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    fcm.fail(Fault("unavailable", deliver=True, retry_after="9"))
    outcome = await sender.send(address, notification)
    assert isinstance(outcome, Retry)
    assert (outcome.ambiguous, outcome.throttled, outcome.retry_after) == (True, False, 9.0)


async def test_no_answer_in_time_is_ambiguous(fcm: FakeFcm, address: Address, notification: Notification) -> None:
    sender = FcmSender(fcm.credentials, endpoint=fcm.url, ca=fcm.ca_path, timeout=1)
    fcm.fail(Fault("hang"))
    started = time.monotonic()
    outcome = await sender.send(address, notification)
    assert time.monotonic() - started < 5
    assert outcome == Retry("no answer from FCM within 1 s", ambiguous=True)
    await sender.close()


async def test_many_at_once_on_few_streams(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    outcomes = await asyncio.gather(*(sender.send(address, notification) for _ in range(60)))
    assert all(isinstance(outcome, Sent) for outcome in outcomes)
    assert len({outcome.message_id for outcome in outcomes if isinstance(outcome, Sent)}) == 60
    assert fcm.token_requests == 1, "all wait for one access token"
    if fcm.url.startswith("https"):
        assert len({received.connection for received in fcm.received}) == 1


async def test_a_certificate_of_a_stranger_is_not_trusted(address: Address, notification: Notification) -> None:
    async with running_fcm(tls=True) as fcm:
        sender = FcmSender(fcm.credentials, endpoint=fcm.url)
        outcome = await sender.send(address, notification)
        assert isinstance(outcome, Retry)
        assert "CERTIFICATE_VERIFY_FAILED" in outcome.reason
        assert not outcome.ambiguous
        assert (fcm.token_requests, fcm.received) == (0, [])
        await sender.close()


async def test_unreachable_is_not_ambiguous(fcm: FakeFcm, address: Address, notification: Notification) -> None:
    async with running_fcm() as other:
        gone = other.url
    sender = FcmSender(fcm.credentials, endpoint=gone, ca=fcm.ca_path)
    outcome = await sender.send(address, notification)
    assert isinstance(outcome, Retry)
    assert not outcome.ambiguous
    await sender.close()


async def test_a_revoked_access_token_is_replaced_within_the_send(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    await sender.send(address, notification)
    fcm.revoke()
    assert isinstance(await sender.send(address, notification), Sent)
    assert fcm.token_requests == 2


async def test_an_account_fcm_never_accepts_is_a_fault_of_configuration(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    fcm.fail(Fault("unauthenticated"), times=2)
    outcome = await sender.send(address, notification)
    assert isinstance(outcome, ConfigFault)
    assert "does not accept this service account" in outcome.reason


async def test_nothing_stays_behind_and_nobody_else_is_called(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    before = set(threading.enumerate())
    await sender.send(address, notification)
    deadline = time.monotonic() + 5
    # The autouse guard fails this test if google-auth's lookups reach for another host.
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, "a thread outlives the send"
        await asyncio.sleep(0.01)


async def test_closing_while_sends_are_under_way_ends_them_as_retry(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    fcm.fail(Fault("hang"))
    under_way = asyncio.create_task(sender.send(address, notification))
    await fcm.wait_for(1)
    await sender.close()
    outcome = await under_way
    assert isinstance(outcome, Retry)
    assert outcome.ambiguous


async def test_closing_while_the_access_token_is_awaited_ends_the_send_as_retry(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    fcm.fail_token(Fault("hang"))
    under_way = asyncio.create_task(sender.send(address, notification))
    await fcm.wait_for_tokens(1)
    await sender.close()
    assert await under_way == Retry("the sender was closed")


async def test_a_second_event_loop_is_refused(sender: FcmSender, address: Address, notification: Notification) -> None:
    await sender.send(address, notification)
    with pytest.raises(RuntimeError, match="one per loop"):
        await asyncio.to_thread(asyncio.run, sender.send(address, notification))


async def test_addresses_of_other_providers_are_refused(sender: FcmSender, notification: Notification) -> None:
    for wrong in (
        Address("apns", "token", "x"),
        Address("fcm", "subscription", {"endpoint": "https://push.example"}),
        Address("fcm", "token", {"endpoint": "x"}),
        Address("fcm", "token", ""),
    ):
        with pytest.raises(ValueError, match="address"):
            await sender.send(wrong, notification)


@pytest.mark.parametrize(
    "endpoint", ["fcm.googleapis.com", "ftp://host", "http://host/path", "https://host?x=1", "http://"]
)
def test_endpoints_that_cannot_be_are_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        FcmSender({}, endpoint=endpoint)


def test_a_timeout_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="timeout"):
        FcmSender({}, timeout=0)


async def test_without_an_endpoint_it_is_googles() -> None:
    async with running_fcm() as fcm:
        sender = FcmSender(fcm.credentials)
    assert sender.url == f"https://fcm.googleapis.com/v1/projects/{PROJECT}/messages:send"
    await sender.close()


def test_a_machine_without_authorities_gets_those_of_certifi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    context = _tls("https://fcm.googleapis.com", None)
    assert context.cert_store_stats()["x509_ca"] > 50
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "firebase_admin", None)
    monkeypatch.delitem(sys.modules, "push.firebase", raising=False)
    monkeypatch.delattr(push, "firebase", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'deskbell\[fcm\]'"):
        FcmSender({})


def test_importing_the_sender_does_not_load_firebase() -> None:
    script = "import sys, push.fcm; print([m for m in sys.modules if m.split('.')[0] in ('firebase_admin', 'httpx')])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"
