"""A transaction is what the app sold: a ride, an order, a payment (architecture.md, "Context").

The app's server says what it is, with a `version` of its own; the phone never asserts facts about money.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

RECENT = 5
"""How many of the user's newest transactions a snapshot keeps."""

TransactionId = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Version = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(max_length=100)]
Url = Annotated[str, msgspec.Meta(max_length=2048, pattern=r"^https?://")]


class Amount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money: a decimal string and an ISO 4217 currency code, never a float."""

    value: Annotated[str, msgspec.Meta(pattern=r"^-?\d{1,15}(\.\d{1,6})?$(?!\n)")]
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")]


class Transaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One version of one transaction, as the app's server stated it."""

    id: TransactionId
    version: Version
    kind: Name | None = None
    status: Name | None = None
    title: Annotated[str, msgspec.Meta(max_length=300)] | None = None
    amount: Amount | None = None
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    url: Url | None = None
    image_url: Url | None = None
    attributes: dict[str, Any] = {}

    @property
    def headline(self) -> str:
        """One line for the inbox: what it is and how it stands."""
        name = self.title or self.kind or self.id
        return f"{name} · {self.status}" if self.status else name


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was known when the conversation was opened; stored as it is and never changed."""

    transaction: Transaction | None = None
    recent: list[Transaction]
    frozen_at: datetime
