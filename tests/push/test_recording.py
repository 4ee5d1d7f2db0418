from __future__ import annotations

from typing import Any

import pytest

from push.recording import RecordingSender
from push.sender import Address, Notification, Sent


class Lines:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})


async def test_keeps_the_newest_and_logs_each(address: Address, notification: Notification) -> None:
    log = Lines()
    sender = RecordingSender(log, keep=2)
    outcomes = [await sender.send(address, notification, quiet=quiet) for quiet in (False, False, True)]
    assert outcomes == [Sent("recorded-1"), Sent("recorded-2"), Sent("recorded-3")]
    assert [(r.message_id, r.quiet) for r in sender.recorded] == [("recorded-2", False), ("recorded-3", True)]
    assert (sender.recorded[-1].address, sender.recorded[-1].notification) == (address, notification)
    assert len(log.lines) == 3
    assert log.lines[0] == {
        "event": "push.recorded",
        "message_id": "recorded-1",
        "provider": "fcm",
        "platform": "android",
        "conversation": "conversation-1",
        "badge": 3,
        "clear": False,
        "quiet": False,
    }


async def test_words_are_logged_only_on_request(address: Address, notification: Notification) -> None:
    log = Lines()
    await RecordingSender(log).send(address, notification)
    await RecordingSender(log, show_text=True).send(address, notification)
    silent, talkative = log.lines
    assert notification.body not in str(silent)
    assert (talkative["title"], talkative["body"]) == (notification.title, notification.body)
    assert str(address.value) not in str(log.lines)


def test_keeping_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="keep"):
        RecordingSender(Lines(), keep=0)
