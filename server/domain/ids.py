"""How things are named.

A user's id is computed from the app's own id of the user (UUIDv5, RFC 9562 §5.5), so finding a user needs no
table that spans shards: `(app, external id)` is already the key. Everything else Deskbell makes is a UUIDv7
(RFC 9562 §5.7): it sorts roughly by time, which keeps indexes warm. Order is never read from an id.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from datetime import datetime

SERVER_KEY_PREFIX = "dbs_"
AGENT_TOKEN_PREFIX = "dba_"
SESSION_PREFIX = "dbc_"


def user_id_of(app_id: UUID, external_id: str) -> UUID:
    """The id of the user whom the app calls `external_id`. The same input always gives the same id."""
    return uuid5(app_id, external_id)


def new_id(now: datetime) -> UUID:
    """A fresh UUIDv7 for the wall time `now`."""
    milliseconds = int(now.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    value = milliseconds << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def id_before(moment: datetime) -> UUID:
    """An id that is smaller than every `new_id` from `moment` on, and greater than those made a millisecond before."""
    milliseconds = int(moment.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0x2 << 62)


def client_id_of(scope: UUID, key: str) -> UUID:
    """An `Idempotency-Key` (http.md, Common) as a client message id, so that both are unique for good alike."""
    return uuid5(scope, key)


def new_secret(prefix: str) -> str:
    """A bearer secret with 256 random bits behind a prefix that secret scanners can recognise."""
    return prefix + secrets.token_urlsafe(32)


def secret_hash(secret: str) -> bytes:
    """What is stored of a bearer secret. SHA-256 is enough: there are 256 random bits to guess, not a password."""
    return hashlib.sha256(secret.encode()).digest()
