"""What push/sender.py promises, for every implementation. A new sender joins by adding a stage to `STAGES`.

A stage is an async context manager that yields a `Stage`: a sender with a provider behind it that can be told to fail,
or, for a sender without a provider, one that cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import pytest

from push.fcm import FcmSender
from push.recording import RecordingSender
from push.sender import Address, Notification, Outcome, Retry, Sender, Sent
from tests.support.fake_fcm import running_fcm
from tests.support.fcm_faults import ERRORS, Fault
from tests.support.loopback import only_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

TIMEOUT = 3.0
FAILURES = (*ERRORS, "drop", "hang", "raw")


@dataclass(frozen=True, slots=True)
class Stage:
    """fail: makes the next request end as named, one of `FAILURES`; None if there is no provider.
    provider_got: how many notifications arrived, those with a failure for an answer included."""

    sender: Sender
    address: Address
    provider_got: Callable[[], int]
    fail: Callable[[str], None] | None = None


class Silent:
    def info(self, event: str, **fields: Any) -> None:
        """Keep nothing: what is logged is the business of tests/push/test_recording.py."""


@contextlib.asynccontextmanager
async def recording() -> AsyncIterator[Stage]:
    sender = RecordingSender(Silent(), keep=1000)
    yield Stage(
        sender, Address("webpush", "subscription", {"endpoint": "https://push.example"}), lambda: len(sender.recorded)
    )


@contextlib.asynccontextmanager
async def fcm(*, tls: bool) -> AsyncIterator[Stage]:
    async with running_fcm(tls=tls, max_streams=5) as fake:
        sender = FcmSender(fake.credentials, endpoint=fake.url, ca=fake.ca_path, timeout=TIMEOUT)
        yield Stage(
            sender,
            Address("fcm", "fid", "fid-of-mia", "ios"),
            lambda: len(fake.received),
            lambda name: fake.fail(Fault(name, status=418, body="teapot")),
        )
        await sender.close()


STAGES: dict[str, Callable[[], AbstractAsyncContextManager[Stage]]] = {
    "recording": recording,
    "fcm-http1": functools.partial(fcm, tls=False),
    "fcm-tls-http2": functools.partial(fcm, tls=True),
}
WITH_PROVIDER = [name for name in STAGES if name != "recording"]
NOTIFICATION = Notification("Anna", "Your driver is on the way", tag="conversation-1", badge=1)


@pytest.fixture(autouse=True)
def stay_on_this_machine() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with STAGES[request.param]() as made:
        yield made


every_sender = pytest.mark.parametrize("stage", STAGES, indirect=True)
every_provider = pytest.mark.parametrize("stage", WITH_PROVIDER, indirect=True)


@every_sender
async def test_one_send_is_one_notification_and_an_explicit_acceptance(stage: Stage) -> None:
    outcome = await stage.sender.send(stage.address, NOTIFICATION)
    assert isinstance(outcome, Sent)
    assert outcome.message_id
    assert stage.provider_got() == 1


@every_sender
async def test_a_repeat_is_sent_again_for_the_provider_cannot_tell(stage: Stage) -> None:
    ids = {str(await stage.sender.send(stage.address, NOTIFICATION, quiet=quiet)) for quiet in (False, True)}
    assert len(ids) == stage.provider_got() == 2


@every_sender
async def test_a_clear_is_sent_like_anything_else(stage: Stage) -> None:
    assert isinstance(await stage.sender.send(stage.address, Notification("", "", "c-1", 0, clear=True)), Sent)


@every_sender
async def test_sends_at_the_same_time_do_not_mix(stage: Stage) -> None:
    outcomes = await asyncio.gather(*(stage.sender.send(stage.address, NOTIFICATION) for _ in range(10)))
    assert len({outcome.message_id for outcome in outcomes if isinstance(outcome, Sent)}) == 10


@every_sender
async def test_text_of_any_kind_and_length_is_accepted(stage: Stage) -> None:
    for text in ("", "👨‍👩‍👧‍👦" * 3000, "\u202eשלום " * 3000, "\x00\ud83d", "a" + "\u0301" * 9000):
        outcome = await stage.sender.send(stage.address, Notification(text, text, "c-1"))
        assert isinstance(outcome, Sent), outcome


@every_sender
async def test_after_close_sending_is_a_mistake_and_closing_again_is_not(stage: Stage) -> None:
    await stage.sender.send(stage.address, NOTIFICATION)
    await stage.sender.close()
    await stage.sender.close()
    with pytest.raises(RuntimeError, match="closed"):
        await stage.sender.send(stage.address, NOTIFICATION)


@every_sender
async def test_closing_unused_is_harmless(stage: Stage) -> None:
    await stage.sender.close()


@every_provider
async def test_whatever_the_provider_does_is_an_outcome_in_time_and_the_next_send_works(stage: Stage) -> None:
    assert stage.fail is not None
    for failure in FAILURES:
        stage.fail(failure)
        started = time.monotonic()
        outcome = await stage.sender.send(stage.address, NOTIFICATION)
        assert isinstance(outcome, get_args(Outcome)), failure
        assert time.monotonic() - started < TIMEOUT + 3, failure
        if isinstance(outcome, Retry):
            assert outcome.reason, failure
            assert not outcome.throttled or outcome.retry_after is not None, failure
        assert isinstance(await stage.sender.send(stage.address, NOTIFICATION), Sent), f"after {failure}"


@every_provider
async def test_an_attempt_is_never_repeated_by_the_sender_itself(stage: Stage) -> None:
    assert stage.fail is not None
    for failure in ("unavailable", "internal", "quota", "drop"):
        before = stage.provider_got()
        stage.fail(failure)
        assert not isinstance(await stage.sender.send(stage.address, NOTIFICATION), Sent)
        assert stage.provider_got() == before + 1


@every_provider
async def test_cancelling_goes_through_and_leaves_the_sender_usable(stage: Stage) -> None:
    assert stage.fail is not None
    stage.fail("hang")
    given_up = asyncio.create_task(stage.sender.send(stage.address, NOTIFICATION))
    async with asyncio.timeout(5):
        while stage.provider_got() == 0:
            await asyncio.sleep(0.005)  # the stage offers a count, not an event
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert isinstance(await stage.sender.send(stage.address, NOTIFICATION), Sent)


@every_provider
async def test_another_providers_address_is_a_mistake(stage: Stage) -> None:
    other = Address("apns" if stage.address.provider != "apns" else "fcm", "token", "x")
    with pytest.raises(ValueError, match="address"):
        await stage.sender.send(other, NOTIFICATION)
