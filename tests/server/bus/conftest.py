"""Fixtures of the bus's tests."""

from __future__ import annotations

from tests.support.redis import redis_cluster, redis_server

__all__ = ["redis_cluster", "redis_server"]
