"""A device's tries to connect: what its hellos are numbered with, how long it waits, and when it gives up for good."""

from msgspec import UNSET, UnsetType

from sdk_protocol.closing import CloseCode, may_reconnect
from sdk_protocol.fields import MAX_INTEGER
from sdk_protocol.pacing import backoff

UNHEARD_AT_MOST = 9
"""How often in a row a 4400 before `welcome` is tried again."""


class Attempts:
    """Over all connections of one device."""

    __slots__ = ("_unheard", "_waits", "_welcomed", "newest")

    def __init__(self) -> None:
        self.newest = 0
        """The number of the newest `hello`. Never goes back, so that the server can tell a late one from a new one."""
        self._waits = 0
        self._unheard = 0
        self._welcomed = False

    def next(self) -> int | UnsetType:
        """The number of the `hello` that is about to be sent; UNSET if somebody has counted to the end, for without a
        number the last hello to arrive wins."""
        if self.newest >= MAX_INTEGER:
            return UNSET
        self.newest += 1
        return self.newest

    def know(self, number: int) -> None:
        """A `hello` with this number has been sent, by this device or before it was restored: the next one is newer."""
        self.newest = max(self.newest, number)

    def welcomed(self) -> None:
        """This connection was understood."""
        self._welcomed = True
        self._unheard = 0

    def synced(self) -> None:
        """All is well: the next wait is a short one again."""
        self._waits = 0

    def final(self, code: int) -> bool:
        """The connection ended with `code`. True if it was the last one."""
        welcomed, self._welcomed = self._welcomed, False
        if code == CloseCode.PROTOCOL_ERROR and not welcomed and self._unheard < UNHEARD_AT_MOST:
            # The server also says this when no `hello` came in time, and an app that the system put to sleep between
            # the handshake and its `hello` has done nothing wrong.
            self._unheard += 1
            return False
        return not may_reconnect(code)

    def wait(self, chance: float, at_least: float) -> float:
        """Seconds before the next try, if it was not a `drain` that ended this one. `chance`: in [0, 1)."""
        self._waits += 1
        return max(at_least, chance * backoff(self._waits - 1))
