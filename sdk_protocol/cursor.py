"""How far one reader has been offered the log, and how much of that it has confirmed (docs/protocol.md, S1 and S6)."""

from enum import StrEnum

from sdk_protocol.errors import BadFrame, ErrorCode, WrongState

MAX_EVENTS = 64
MAX_BYTES = 256 * 1024
STALLED_AFTER = 60.0
"""Seconds without progress after which a reader that owes an `ack` is closed with 4001."""


class Judgement(StrEnum):
    """What to do with an event that a hint brought."""

    NEXT = "next"
    """It is the next one and there is room: send it."""
    STALE = "stale"
    """It was offered before: nothing to do."""
    GAP = "gap"
    """Something is missing in between: read the log from `offered` on."""
    FULL = "full"
    """The reader owes an `ack`: drop the hint, read the log from `offered` on when there is room."""


class ReadCursor:
    """A window over a dense log. `offered`: the last usn sent to this reader; `acked`: the last one it has stored.

    A new cursor takes what was offered on an earlier connection as stored: the reader said so in `hello`.
    Invariant: `offered - acked` sizes are remembered, so memory is bounded by `max_events` numbers.
    """

    __slots__ = ("_progress_at", "_sizes", "max_bytes", "max_events", "offered", "unacked_bytes")

    def __init__(self, offered: int, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self.offered = offered
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.unacked_bytes = 0
        self._sizes: list[int] = []
        self._progress_at = 0.0

    @property
    def acked(self) -> int:
        """The last usn the reader has confirmed."""
        return self.offered - len(self._sizes)

    @property
    def room(self) -> bool:
        """True if at least a small event may be offered now."""
        return len(self._sizes) < self.max_events and self.unacked_bytes < self.max_bytes

    @property
    def progress_at(self) -> float | None:
        """When the wait for an `ack` began or last saw one (monotonic seconds); None if nothing is owed."""
        return self._progress_at if self._sizes else None

    def judge(self, usn: int, size: int = 0) -> Judgement:
        """Whether event `usn` of `size` bytes may go out now. An event larger than the budget goes out alone."""
        if usn <= self.offered:
            return Judgement.STALE
        if usn > self.offered + 1:
            return Judgement.GAP
        sizes = self._sizes
        if sizes and (len(sizes) >= self.max_events or self.unacked_bytes + size > self.max_bytes):
            return Judgement.FULL
        return Judgement.NEXT

    def sent(self, usn: int, size: int, now: float) -> None:
        """Event `usn` went out. Raises `WrongState` unless it was the next one (S1)."""
        if usn != self.offered + 1:
            raise WrongState(f"event {usn} was sent after {self.offered}: a reader is offered every event in order")
        if not self._sizes:
            self._progress_at = now
        self._sizes.append(size)
        self.unacked_bytes += size
        self.offered = usn

    def ack(self, usn: int, now: float) -> bool:
        """The reader has stored everything up to `usn`. False if it said more before (a late frame, ignored).

        Raises `BadFrame` for a usn that was never offered; the cursor stays as it was.
        """
        if usn > self.offered:
            message = f"usn {usn} was not offered yet, the newest offered is {self.offered}: ack only what is stored"
            raise BadFrame(ErrorCode.BAD_REQUEST, message, "usn")
        confirmed = usn - self.offered + len(self._sizes)
        if confirmed <= 0:
            return confirmed == 0
        self.unacked_bytes -= sum(self._sizes[:confirmed])
        del self._sizes[:confirmed]
        self._progress_at = now
        return True

    def stalled(self, now: float, after: float = STALLED_AFTER) -> bool:
        """True if something has been owed for `after` seconds without any progress."""
        # Not a difference: it must agree to the last bit with a deadline computed from `progress_at`.
        return bool(self._sizes) and now >= self._progress_at + after
