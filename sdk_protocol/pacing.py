"""When a device acknowledges, refreshes, pings and tries again: its clocks, without a clock (docs/protocol.md)."""

from datetime import UTC, datetime

ANSWER_WITHIN = 10.0
"""Seconds to wait for `welcome`, and for a sign of life after a `ping`."""
ACK_EVENTS = 32
ACK_BYTES = 128 * 1024
"""Half of what the server offers before it waits (S6): it never has to."""
ACK_AFTER = 0.25
"""Seconds an event may stay unacknowledged. Well below the 4 s after which the server pushes it."""
REFRESH_BEFORE = 60.0
"""Seconds before its expiry (at most half of what is left) a new token is asked for."""
BACKOFF_FIRST = 0.5
BACKOFF_MOST = 30.0


def backoff(attempt: int) -> float:
    """Seconds to wait at most before try number `attempt` (from 0)."""
    return min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** min(attempt, 10))


class Clocks:
    """The deadlines of one connection, in monotonic seconds; None: not running."""

    __slots__ = (
        "_unacked_bytes",
        "_unacked_events",
        "_wall",
        "ack_at",
        "deaf_at",
        "drained_at",
        "ping_at",
        "ping_interval",
        "refresh_at",
        "retry_at",
    )

    def __init__(self, now: float = 0.0, wall: float = 0.0) -> None:
        self._wall = wall - now
        self._unacked_events = 0
        self._unacked_bytes = 0
        self.ping_interval = 0.0
        self.ack_at: float | None = None
        """The newest events have waited long enough for their `ack`."""
        self.deaf_at: float | None = None
        """The server has not been heard: leave."""
        self.drained_at: float | None = None
        """The delay of `drain` is over: leave."""
        self.ping_at: float | None = None
        """Silence: ping."""
        self.refresh_at: float | None = None
        """A new token is needed."""
        self.retry_at: float | None = None
        """The outbox may go on. While this runs it is held back as a whole, so that nothing overtakes."""

    def next(self) -> float | None:
        """The earliest of them."""
        all_of_them = (self.ack_at, self.deaf_at, self.drained_at, self.ping_at, self.refresh_at, self.retry_at)
        running = [at for at in all_of_them if at is not None]
        return min(running) if running else None

    def took(self, size: int, now: float) -> bool:
        """An event of `size` bytes was stored. True if it is time to acknowledge."""
        self._unacked_events += 1
        self._unacked_bytes += size
        if self.ack_at is None:
            self.ack_at = now + ACK_AFTER
        return self._unacked_events >= ACK_EVENTS or self._unacked_bytes >= ACK_BYTES

    def acked(self) -> None:
        """Everything stored was acknowledged."""
        self.ack_at = None
        self._unacked_events = 0
        self._unacked_bytes = 0

    def heard(self, now: float, pinging: bool) -> None:
        """A sign of life of the server."""
        self.deaf_at = None
        self.ping_at = now + self.ping_interval if pinging else None

    def expires(self, at: str, now: float) -> None:
        """The token is good until `at` (RFC 3339). Without a readable date it is renewed when the server says 4003."""
        try:
            date = datetime.fromisoformat(at)
        except ValueError:
            return
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        left = date.timestamp() - self._wall - now
        if left <= 0:
            # Good for the server and over for us: our clock is ahead. Asking for another would go on for ever.
            self.refresh_at = None
            return
        self.refresh_at = now + left - min(REFRESH_BEFORE, left / 2)

    def retry(self, at: float) -> None:
        """Hold the outbox back until `at`, or longer if it is already."""
        self.retry_at = at if self.retry_at is None else max(self.retry_at, at)
