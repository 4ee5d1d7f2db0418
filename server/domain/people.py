"""End users and the devices they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from server.domain.bounds import check_open
from server.domain.errors import BadRequest
from server.domain.events import Author, AuthorType

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

MAX_EXTERNAL_ID = 255
MAX_PROPERTIES = 200


class EndUser(msgspec.Struct, kw_only=True, frozen=True):
    """A customer of one app. `external_id` is the app's own id of the user."""

    app_id: UUID
    user_id: UUID
    external_id: str
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    properties: dict[str, Any] = {}
    usn: int = 0
    auth_gen: int = 0
    incarnation: str = ""
    tokens_from: datetime | None = None
    trimmed_usn: int = 0
    created_at: datetime
    updated_at: datetime

    def accepts(self, issued_at: datetime) -> bool:
        """Whether a token issued then still counts. Tokens say when in whole seconds, so that is how it is compared."""
        return self.tokens_from is None or issued_at >= self.tokens_from.replace(microsecond=0)

    def epoch_in(self, history: str) -> str:
        """The history of this user's log (protocol.md, "Numbers"): the database's, and the user's own beginning."""
        return f"{history}-{self.incarnation}"

    @property
    def author(self) -> Author:
        return Author(AuthorType.USER, str(self.user_id), self.name)


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says of itself. `attempt`: which hello of the device this is, from 1 on; None: not numbered."""

    device_id: UUID
    platform: str
    sdk: str | None = None
    app_version: str | None = None
    locale: str | None = None
    attempt: int | None = None


def check_external_id(external_id: str, *, field: str = "external_id") -> str:
    """An app's own user id: 1 to 255 characters, no control characters."""
    if not 1 <= len(external_id) <= MAX_EXTERNAL_ID or not external_id.isprintable():
        raise BadRequest(f"The user id must be 1 to {MAX_EXTERNAL_ID} printable characters.", field=field)
    return external_id


def merge_properties(known: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`given` over `known`; a null removes (http.md, `PUT /v1/users/{external_id}`)."""
    merged = {key: value for key, value in (known | given).items() if value is not None}
    if len(merged) > MAX_PROPERTIES:
        raise BadRequest(f"A user has at most {MAX_PROPERTIES} properties.", field="properties")
    check_open(merged, "properties")
    return merged
