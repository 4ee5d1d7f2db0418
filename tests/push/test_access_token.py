"""Access tokens: beside the loop, once for all, and never in the way while the old one still works."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from typing import TYPE_CHECKING

import certifi
import pytest

from push.access_token import RETRY_WHILE_VALID, AccessToken, TokenUnavailable
from push.fcm import FcmSender
from push.sender import Address, ConfigFault, Notification, Retry, Sent
from push.service_account import ServiceAccount
from tests.support.fake_fcm import FakeFcm, running_fcm
from tests.support.fcm_faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def fcm() -> AsyncIterator[FakeFcm]:
    async with running_fcm() as fake:
        yield fake


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sender(fcm: FakeFcm, clock: Clock) -> AsyncIterator[FcmSender]:
    made = FcmSender(fcm.credentials, endpoint=fcm.url, clock=clock, timeout=5)
    yield made
    await made.close()


async def longest_stall(until: asyncio.Event) -> float:
    """Seconds the loop was deaf at most, measured with a 5 ms tick."""
    longest, last = 0.0, time.monotonic()
    while not until.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), 0.005)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return longest


async def test_a_slow_token_endpoint_does_not_stall_the_loop(address: Address, notification: Notification) -> None:
    stalls = []
    # A busy machine may stall anybody now and then; a synchronous refresh stalls for the whole 2 s every time.
    for _ in range(5):
        async with running_fcm() as fcm:
            sender = FcmSender(fcm.credentials, endpoint=fcm.url)
            fcm.fail_token(Fault("slow", delay=2.0))
            done = asyncio.Event()
            ticker = asyncio.create_task(longest_stall(done))
            started = time.monotonic()
            assert isinstance(await sender.send(address, notification), Sent)
            assert time.monotonic() - started >= 2.0
            done.set()
            stalls.append(await ticker)
            await sender.close()
        if stalls[-1] < 0.05:
            break
    assert min(stalls) < 0.05, f"the loop stood still for {stalls} s"


async def test_one_token_serves_until_it_is_old(
    fcm: FakeFcm, sender: FcmSender, clock: Clock, address: Address, notification: Notification
) -> None:
    await sender.send(address, notification)
    clock.now += 3000
    await sender.send(address, notification)
    assert fcm.token_requests == 1


async def test_an_old_token_works_while_a_new_one_is_fetched(
    fcm: FakeFcm, sender: FcmSender, clock: Clock, address: Address, notification: Notification
) -> None:
    await sender.send(address, notification)
    fcm.fail_token(Fault("slow", delay=0.2))
    clock.now += 3400
    assert isinstance(await sender.send(address, notification), Sent)
    assert fcm.received[-1].headers["authorization"] == "Bearer fake-access-1"
    await fcm.wait_for_tokens(2)
    async with asyncio.timeout(5):
        while fcm.received[-1].headers["authorization"] != "Bearer fake-access-2":
            assert isinstance(await sender.send(address, notification), Sent)


async def test_an_outage_of_the_token_endpoint_goes_unnoticed_while_the_token_lives(
    fcm: FakeFcm, sender: FcmSender, clock: Clock, address: Address, notification: Notification
) -> None:
    await sender.send(address, notification)
    fcm.fail_token(Fault("unavailable"), times=3)
    clock.now += 3400
    for attempt in (2, 3):
        async with asyncio.timeout(10):  # until the attempt before is over, it is the attempt under way
            while fcm.token_requests < attempt:
                assert isinstance(await sender.send(address, notification), Sent)
        assert isinstance(await sender.send(address, notification), Sent)
        assert fcm.token_requests == attempt, "the endpoint is not asked again at once"
        clock.now += RETRY_WHILE_VALID
    clock.now += 200
    outcomes = []
    while not isinstance(outcome := await sender.send(address, notification), Sent):
        assert isinstance(outcome, Retry)
        assert not outcome.ambiguous
        outcomes.append(outcome)
    # The first may still have waited for the second attempt above.
    assert 1 <= len(outcomes) <= 2


async def test_an_expired_token_is_not_used(
    fcm: FakeFcm, sender: FcmSender, clock: Clock, address: Address, notification: Notification
) -> None:
    await sender.send(address, notification)
    clock.now += 3600
    await sender.send(address, notification)
    assert fcm.received[-1].headers["authorization"] == "Bearer fake-access-2"


@pytest.mark.parametrize("name", ["invalid_grant", "invalid_client"])
async def test_an_account_google_refuses_is_a_fault_of_configuration(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification, name: str
) -> None:
    fcm.fail_token(Fault(name))
    outcome = await sender.send(address, notification)
    assert isinstance(outcome, ConfigFault)
    assert name in outcome.reason
    assert fcm.credentials["client_email"] in outcome.reason
    assert fcm.received == []


@pytest.mark.parametrize(
    ("fault", "retry_after"),
    [
        (Fault("unavailable", retry_after="11"), 11.0),
        (Fault("quota", retry_after="12"), 12.0),
        (Fault("drop"), None),
        (Fault("raw", body="<html>"), None),
        (Fault("raw", body="[]"), None),
        (Fault("raw", body='{"access_token": 5}'), None),
        (Fault("raw", body='{"access_token": "x", "expires_in": "soon"}'), None),
    ],
    ids=lambda case: f"{case.name}{case.body}" if isinstance(case, Fault) else "",
)
async def test_no_token_this_time_is_not_ambiguous(
    fcm: FakeFcm,
    sender: FcmSender,
    address: Address,
    notification: Notification,
    fault: Fault,
    retry_after: float | None,
) -> None:
    fcm.fail_token(fault)
    outcome = await sender.send(address, notification)
    assert isinstance(outcome, Retry)
    assert (outcome.retry_after, outcome.ambiguous, outcome.throttled) == (retry_after, False, False)
    assert fcm.received == []
    assert isinstance(await sender.send(address, notification), Sent)


async def test_a_redirect_does_not_get_the_assertion(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    fcm.fail_token(Fault("raw", status=307))
    assert isinstance(await sender.send(address, notification), ConfigFault)


async def test_a_waiter_that_gives_up_does_not_disturb_the_others(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    fcm.fail_token(Fault("slow", delay=0.3))
    waiters = [asyncio.create_task(sender.send(address, notification)) for _ in range(3)]
    await fcm.wait_for_tokens(1)
    waiters[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiters[0]
    assert all(isinstance(outcome, Sent) for outcome in await asyncio.gather(*waiters[1:]))
    assert fcm.token_requests == 1


async def test_a_token_endpoint_that_never_ends_its_answer_is_left_behind(
    fcm: FakeFcm, address: Address, notification: Notification
) -> None:
    connections = []

    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            writer.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while True:
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.transport.abort()

    server = await asyncio.start_server(dribble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    credentials = fcm.credentials | {"token_uri": f"http://127.0.0.1:{port}/token"}
    sender = FcmSender(credentials, endpoint=fcm.url, timeout=0.2)
    try:
        async with asyncio.timeout(10):
            while len(connections) < 2:
                assert await sender.send(address, notification) == Retry("no answer from an access token within 0.2 s")
    finally:
        await sender.close()
        server.close()
        for writer in connections:
            writer.transport.abort()
        await server.wait_closed()


async def test_after_close_there_are_no_tokens_not_even_for_those_who_asked_before(fcm: FakeFcm) -> None:
    account = ServiceAccount.load(fcm.credentials)
    tokens = AccessToken(account, timeout=5, tls=ssl.create_default_context(cafile=certifi.where()), clock=time.time)
    waiting = asyncio.create_task(tokens.get())
    await fcm.wait_for_tokens(1)
    tokens.close()
    tokens.close()
    for asked in (waiting, asyncio.create_task(tokens.get())):
        with pytest.raises(TokenUnavailable, match="closed"):
            await asked
    assert fcm.token_requests == 1
