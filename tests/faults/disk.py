"""What a simulated phone has stored, and what survives the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from sdk_protocol.device_state import DeviceState

if TYPE_CHECKING:
    from uuid import UUID

    from sdk_protocol import frames


class Disk:
    """What the app has stored: C1, C2 and C6 as a local database would keep them."""

    def __init__(self) -> None:
        self.attempt = 0
        self.epoch: str | None = None
        self.usn = 0
        self.outbox: dict[UUID, frames.Open | frames.Send] = {}

    def state(self) -> DeviceState:
        epoch = UNSET if self.epoch is None else self.epoch
        return DeviceState(epoch=epoch, usn=self.usn, attempt=self.attempt, outbox=list(self.outbox.values()))
