"""Every answer FCM can give, and some it cannot, in the words of push/sender.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from push.fcm import FcmSender
from push.firebase import send_url
from push.sender import Address, ConfigFault, Notification, Outcome, Rejected, Retry, Sent, TokenGone
from tests.support.fake_fcm import FakeFcm, running_fcm
from tests.support.fcm_faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fcm() -> AsyncIterator[FakeFcm]:
    async with running_fcm() as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sender(fcm: FakeFcm) -> AsyncIterator[FcmSender]:
    made = FcmSender(fcm.credentials, endpoint=fcm.url, clock=lambda: NOW)
    yield made
    await made.close()


def raw(status: int, body: object = None, retry_after: str | None = None) -> Fault:
    text = body if isinstance(body, str) else json.dumps(body)
    return Fault("raw", status=status, body=text, retry_after=retry_after)


@pytest.mark.asyncio(loop_scope="module")  # one sender for all: after each of these answers it must go on working
@pytest.mark.parametrize(
    ("fault", "kind", "fields"),
    [
        (Fault("unregistered"), TokenGone, {"at": None}),
        (Fault("sender_mismatch"), TokenGone, {"at": None}),
        (Fault("invalid_argument"), Rejected, {}),
        (Fault("not_found"), Rejected, {}),
        (Fault("third_party_auth"), ConfigFault, {}),
        (Fault("permission_denied"), ConfigFault, {}),
        (Fault("quota", retry_after="7"), Retry, {"retry_after": 7.0, "throttled": True, "ambiguous": False}),
        (Fault("quota"), Retry, {"retry_after": 60.0, "throttled": True, "ambiguous": False}),
        (
            Fault("quota", retry_after="Sun, 06 Nov 1994 08:51:37 GMT"),
            Retry,
            {"retry_after": 120.0, "throttled": True},
        ),
        (raw(429, "slow down"), Retry, {"retry_after": 60.0, "throttled": True}),
        (Fault("unavailable"), Retry, {"retry_after": None, "throttled": False, "ambiguous": True}),
        (Fault("internal", retry_after="3"), Retry, {"retry_after": 3.0, "ambiguous": True}),
        (raw(502, "<html>bad gateway</html>"), Retry, {"ambiguous": True}),
        (raw(503, {"error": "text where Google has an object"}), Retry, {"ambiguous": True}),
        (raw(503, {"error": {"details": None, "message": "x"}}), Retry, {"ambiguous": True}),
        (raw(408), Retry, {"ambiguous": True}),
        (raw(200, "not json"), Retry, {"ambiguous": True}),
        (raw(200, {}), Retry, {"ambiguous": True}),
        (raw(200, ["name"]), Retry, {"ambiguous": True}),
        (raw(204, ""), Retry, {"ambiguous": True}),
        (raw(302, "moved"), ConfigFault, {}),
        (raw(404, "<html>no such page</html>"), ConfigFault, {}),
        (raw(404, {"error": "no such page"}), ConfigFault, {}),
        (raw(405, "no"), ConfigFault, {}),
        (raw(403, "no"), ConfigFault, {}),
        (raw(413, "too large"), Rejected, {}),
        (raw(200, {"name": "projects/p/messages/1"}), Sent, {"message_id": "projects/p/messages/1"}),
    ],
    ids=lambda case: f"{case.name}-{case.status}" if isinstance(case, Fault) else "",
)
async def test_answer(
    fcm: FakeFcm,
    sender: FcmSender,
    address: Address,
    notification: Notification,
    fault: Fault,
    kind: type[Outcome],
    fields: dict[str, object],
) -> None:
    fcm.fail(fault)
    outcome = await sender.send(address, notification)
    assert type(outcome) is kind
    assert {name: getattr(outcome, name) for name in fields} == fields
    if not isinstance(outcome, Sent):
        assert outcome.reason
        assert len(outcome.reason) < 500
        assert str(address.value) not in outcome.reason


@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_is_not_condemned_by_a_404_that_does_not_say_unregistered(
    fcm: FakeFcm, sender: FcmSender, address: Address, notification: Notification
) -> None:
    for fault in (Fault("not_found"), raw(404, "no such route")):
        fcm.fail(fault)
        assert not isinstance(await sender.send(address, notification), TokenGone)


def test_the_endpoint_replaces_only_the_host() -> None:
    assert send_url("http://127.0.0.1:9", "p-1") == "http://127.0.0.1:9/v1/projects/p-1/messages:send"
