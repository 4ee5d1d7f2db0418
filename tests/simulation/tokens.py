"""A token is its user and when it ends. The signature is no part of this simulation."""

from __future__ import annotations


def token_of(user: int, expires: float) -> str:
    """`expires` in seconds since 1970."""
    return f"{user}:{expires!r}"


def user_of(token: str) -> int:
    return int(token.partition(":")[0])


def expiry_of(token: str) -> float:
    """Seconds since 1970."""
    return float(token.partition(":")[2])
