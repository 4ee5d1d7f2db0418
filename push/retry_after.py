"""The `Retry-After` header (RFC 9110 section 10.2.3)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

MAX_SECONDS = 24 * 60 * 60.0
"""Nothing is tried longer than a day (docs/push.md), so a longer wait means the same."""


def retry_after_seconds(header: str | None, *, now: float) -> float | None:
    """Seconds to wait, 0 to a day, from either form (`120` or an HTTP date); None if absent or unreadable.

    now: Unix seconds.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_SECONDS)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return min(max(moment - now, 0.0), MAX_SECONDS)
