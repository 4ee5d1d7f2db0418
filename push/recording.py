"""The sender used while no provider is configured: it keeps the last notifications and logs each. See docs/push.md.

It is not a fake for tests of delivery (tests/support/fake_fcm.py is): it accepts everything, like a device that is
always there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from push.sender import Address, Notification, Outcome, Sent

DEFAULT_KEEP = 200


class Log(Protocol):
    """The one method used of a structlog logger."""

    def info(self, event: str, **fields: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """One notification as it would have gone out."""

    message_id: str
    address: Address
    notification: Notification
    quiet: bool


class RecordingSender:
    """A `Sender` that records. `recorded` holds the newest `keep` notifications, oldest first.

    show_text: also log title and body. Off by default, since a customer's words do not belong in a log that outlives
        the conversation; `deskbell demo` turns it on. The address's value is never logged.
    """

    def __init__(self, log: Log, *, keep: int = DEFAULT_KEEP, show_text: bool = False) -> None:
        if keep < 1:
            raise ValueError(f"keep must be 1 or more notifications, not {keep}")
        self.recorded: deque[Recorded] = deque(maxlen=keep)
        self._log = log
        self._show_text = show_text
        self._count = 0
        self._closed = False

    async def send(self, address: Address, notification: Notification, *, quiet: bool = False) -> Outcome:
        """Record it and answer `Sent`. Raises RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError("this RecordingSender is closed; create a new one to send")
        self._count += 1
        recorded = Recorded(f"recorded-{self._count}", address, notification, quiet)
        self.recorded.append(recorded)
        text = {"title": notification.title, "body": notification.body} if self._show_text else {}
        self._log.info(
            "push.recorded",
            message_id=recorded.message_id,
            provider=address.provider,
            platform=address.platform,
            conversation=notification.tag,
            badge=notification.badge,
            clear=notification.clear,
            quiet=quiet,
            **text,
        )
        return Sent(recorded.message_id)

    async def close(self) -> None:
        """Stop accepting; what was recorded stays readable."""
        self._closed = True
