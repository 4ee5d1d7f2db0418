"""What a kill of a simulated app leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from sdk_protocol.device_state import DeviceState

if TYPE_CHECKING:
    from uuid import UUID

    from sdk_protocol import frames


class Disk:
    """C1, C2 and C6 as a local database would keep them."""

    __slots__ = ("attempt", "base", "conversations", "epoch", "events", "outbox")

    def __init__(self) -> None:
        self.attempt = 0
        """The number of the newest hello."""
        self.epoch: str | None = None
        self.base = 0
        """The usn of the snapshot; `events` follow it without a gap."""
        self.events: list[frames.Event] = []
        self.outbox: dict[UUID, frames.Open | frames.Send] = {}
        self.conversations: dict[UUID, int] = {}
        """What this device knows of, and the newest seq it has seen there."""

    @property
    def usn(self) -> int:
        return self.base + len(self.events)

    def state(self) -> DeviceState:
        return DeviceState(
            epoch=UNSET if self.epoch is None else self.epoch,
            usn=self.usn,
            attempt=self.attempt,
            outbox=list(self.outbox.values()),
        )
