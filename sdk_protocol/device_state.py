"""What a device keeps for `/v1/chat` (docs/protocol.md)."""

from msgspec import UNSET, Struct, UnsetType

from sdk_protocol.frames import Open, Send


class DeviceState(Struct, kw_only=True):
    """What survives a restart of the app. Encodes to JSON as it is; a field that an older version did not write has its
    default."""

    epoch: str | UnsetType = UNSET
    usn: int = 0
    attempt: int = 0
    """The number of the newest `hello`."""
    outbox: list[Open | Send] = []
