"""Ids that are quick to look things up by.

On its way a message is looked up by some twenty ids. The standard library's UUID hashes and compares in Python,
asyncpg's (which is one, and equal to it) in C; mixing the two costs most. Rows come with asyncpg's, so ids that
arrive from outside are made the same where they enter the way of a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncpg.pgproto.pgproto import UUID as QuickUUID

if TYPE_CHECKING:
    from uuid import UUID


def quick(id: UUID) -> UUID:
    """The same id."""
    return id if type(id) is QuickUUID else QuickUUID(id.bytes)
