"""What the tests of push share: a fake FCM, over plain HTTP/1.1 and over TLS with HTTP/2; no socket beyond loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from push.fcm import FcmSender
from push.sender import Address, Notification
from tests.support.fake_fcm import FakeFcm, running_fcm
from tests.support.loopback import only_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(autouse=True)
def stay_on_this_machine() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture(params=["http1", "tls-http2"])
async def fcm(request: pytest.FixtureRequest) -> AsyncIterator[FakeFcm]:
    # Few streams, so that one that leaks is missed soon.
    async with running_fcm(tls=request.param == "tls-http2", max_streams=5) as fake:
        yield fake


@pytest.fixture
async def sender(fcm: FakeFcm) -> AsyncIterator[FcmSender]:
    made = FcmSender(fcm.credentials, endpoint=fcm.url, ca=fcm.ca_path, timeout=5)
    yield made
    await made.close()


@pytest.fixture
def address() -> Address:
    return Address("fcm", "token", "token-of-mia", "android")


@pytest.fixture
def notification() -> Notification:
    return Notification("Anna", "Your driver is on the way", tag="conversation-1", badge=3, data={"seq": "7"})
