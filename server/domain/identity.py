"""What a user's token must say (protocol.md, "Identity"). The signature is checked by `services.identity`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from server.domain.errors import Unauthorized
from server.domain.people import MAX_EXTERNAL_ID

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
MAX_KEYS = 10
MIN_SECRET_BYTES = 32
MAX_LIFETIME = timedelta(hours=24)
SKEW = timedelta(seconds=60)
"""How far the clock of the server that signs may be ahead of ours."""


class Expired(Unauthorized):
    """The token was good once. The device should get a new one and come back; what it queued is still welcome."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """A verified user."""

    app_id: UUID
    external_id: str
    issued_at: datetime
    expires_at: datetime
    name: str | None = None
    email: str | None = None
    locale: str | None = None


def check_claims(claims: dict[str, Any], app_id: UUID, now: datetime) -> Claims:
    """Check the claims of a token whose signature is good.

    Raises Unauthorized naming the claim that is wrong, and what it should be; Expired for one that is too old.
    """
    if claims.get("aud") not in (str(app_id), [str(app_id)]):
        raise Unauthorized("The claim `aud` must be the app id.", field="token")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_EXTERNAL_ID or not subject.isprintable():
        raise Unauthorized(
            f"The claim `sub` must be your own user id: 1 to {MAX_EXTERNAL_ID} printable characters.", field="token"
        )
    issued, expires = _time(claims, "iat"), _time(claims, "exp")
    not_before = _time(claims, "nbf") if "nbf" in claims else issued
    if max(issued, not_before) > now + SKEW:
        raise Unauthorized("The token is not valid yet: check the clock of the server that signs it.", field="token")
    if expires - issued > MAX_LIFETIME:
        raise Unauthorized("The token lives too long: `exp` may be at most 24 hours after `iat`.", field="token")
    if expires <= now:
        raise Expired("The token has expired: get a new one from your server.", field="token")
    return Claims(
        app_id=app_id,
        external_id=subject,
        issued_at=issued,
        expires_at=expires,
        name=_text(claims, "name"),
        email=_text(claims, "email"),
        locale=_text(claims, "locale"),
    )


def _time(claims: dict[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**33:
        raise Unauthorized(f"The claim `{name}` must be a time in seconds since 1970.", field="token")
    return datetime.fromtimestamp(value, UTC)


def _text(claims: dict[str, Any], name: str) -> str | None:
    """Optional facts never lock a user out: what cannot be used is left out."""
    value = claims.get(name)
    if not isinstance(value, str) or not value or "\x00" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair: JSON can spell it, PostgreSQL cannot hold it
        return None
    return value[:200]
