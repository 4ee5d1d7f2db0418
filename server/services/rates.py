"""Rate limits: token buckets per verified user, device or key. Never per IP: carriers share addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.domain.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Hashable

    from server.clock import Clock

MOST_KEYS = 100_000


class Rates:
    """Buckets of `burst` tokens that refill over `seconds`. Kept in the process: a limit is per node.

    `burst` None switches the limit off.
    """

    def __init__(self, clock: Clock, burst: int | None, seconds: float, what: str) -> None:
        self._clock = clock
        self._burst = burst
        self._rate = burst / seconds if burst else 0.0
        self._what = what
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def take(self, key: Hashable, tokens: int = 1) -> None:
        """Take from the bucket of `key`. Raises RateLimited with the seconds until there is enough again.

        A demand larger than a whole bucket is let through when the bucket is full.
        """
        if self._burst is None:
            return
        now = self._clock.monotonic()
        level, at = self._buckets.pop(key, (float(self._burst), now))
        level = min(self._burst, level + (now - at) * self._rate)
        needed = min(tokens, self._burst)
        if level < needed:
            self._buckets[key] = (level, now)
            raise RateLimited(f"Too many {self._what}; slow down.", retry_after=(needed - level) / self._rate)
        if len(self._buckets) >= MOST_KEYS:
            self._forget_full(now)
        self._buckets[key] = (level - tokens, now)

    def _forget_full(self, now: float) -> None:
        """Full buckets need no memory; if none is full, the ones used longest ago go."""
        burst = float(self._burst or 0)
        full = [key for key, (level, at) in self._buckets.items() if level + (now - at) * self._rate >= burst]
        for key in full or list(self._buckets)[: MOST_KEYS // 10]:
            del self._buckets[key]
