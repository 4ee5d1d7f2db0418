"""The push outbox: what is wanted, who works on it, how it ended (docs/push.md)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from asyncpg import Record

    from server.storage.database import Database


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One (device, conversation) that is ours until the lease ends. `token` names the claim."""

    app_id: UUID
    user_id: UUID
    device_id: UUID
    conversation_id: UUID
    token: UUID
    wanted_at: datetime
    attempts: int

    @property
    def key(self) -> tuple[UUID, UUID, UUID, UUID]:
        return (self.app_id, self.user_id, self.device_id, self.conversation_id)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a push depends on, read right before it is sent. `body` is the newest wanted message's JSON."""

    provider: str | None
    push_token: str | None
    push_token_at: datetime | None
    owner_epoch: int
    wanted_epoch: int
    claim: UUID | None
    platform: str
    locale: str | None
    acked_usn: int
    message_usn: int
    message_at: datetime
    want_seq: int
    sent_seq: int
    user_read_seq: int
    ambiguous: bool
    fresh: int
    badge: int
    app_name: str
    author_name: str | None
    body: bytes


class PushState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the pushes of a conversation to one device."""

    device_id: UUID
    platform: str | None
    want_seq: int
    sent_seq: int
    due_at: datetime
    attempts: int
    ambiguous: bool
    dead: bool
    outcome: str | None
    outcome_at: datetime | None


async def claim(database: Database, now: datetime, token: UUID, until: datetime, limit: int) -> list[Claim]:
    """Take what is due. Committed when this returns, so that no lock is held while a provider is asked."""
    return [
        Claim(
            app_id=row["app_id"],
            user_id=row["user_id"],
            device_id=row["device_id"],
            conversation_id=row["conversation_id"],
            token=token,
            wanted_at=row["wanted_at"],
            attempts=row["attempts"],
        )
        for row in await database.rows("claim_pushes", now, token, until, limit)
    ]


async def look(database: Database, claimed: Claim) -> Look | None:
    """None if the device or the conversation is gone."""
    row = await database.row("look_before_push", *claimed.key)
    return _look(row) if row else None


def _look(row: Record) -> Look:
    return Look(
        provider=row["push_provider"],
        push_token=row["push_token"],
        push_token_at=row["push_token_at"],
        owner_epoch=row["epoch"],
        wanted_epoch=row["wanted_epoch"],
        claim=row["claim"],
        platform=row["platform"],
        locale=row["locale"],
        acked_usn=row["acked_usn"],
        message_usn=row["message_usn"],
        message_at=row["message_at"],
        want_seq=row["want_seq"],
        sent_seq=row["sent_seq"],
        user_read_seq=row["user_read_seq"],
        ambiguous=row["ambiguous"],
        fresh=row["fresh"],
        badge=row["badge"],
        app_name=row["app_name"],
        author_name=row["author_name"],
        body=row["body"],
    )


async def settle(database: Database, claimed: Claim, seq: int, outcome: str, at: datetime) -> bool:
    """Done with everything up to `seq`. False if the claim is not ours any more."""
    return bool(await database.run("settle_push", *claimed.key, claimed.token, seq, outcome, at))


async def postpone(
    database: Database,
    claimed: Claim,
    due_at: datetime,
    outcome: str,
    at: datetime,
    *,
    ambiguous: bool = False,
    held: bool = False,
) -> bool:
    """Later. `held`: nothing was asked of the provider, so this was no attempt."""
    values = (due_at, ambiguous, outcome, at, held)
    return bool(await database.run("postpone_push", *claimed.key, claimed.token, *values))


async def bury(database: Database, claimed: Claim, outcome: str, at: datetime) -> bool:
    return bool(await database.run("bury_push", *claimed.key, claimed.token, outcome, at))


async def drop_token(database: Database, claimed: Claim, seen: Look) -> bool:
    """Remove a token the provider does not know, if it was not registered anew since `seen`."""
    return bool(
        await database.run(
            "drop_dead_token",
            claimed.app_id,
            claimed.user_id,
            claimed.device_id,
            seen.push_token,
            seen.push_token_at,
        )
    )


async def oldest_due(database: Database, now: datetime) -> datetime | None:
    """When the push that waits longest fell due; None if nothing waits."""
    due: datetime | None = await database.value("oldest_push", now)
    return due


async def of_conversation(database: Database, app_id: UUID, user_id: UUID, conversation_id: UUID) -> list[PushState]:
    return [
        PushState(
            device_id=row["device_id"],
            platform=row["platform"],
            want_seq=row["want_seq"],
            sent_seq=row["sent_seq"],
            due_at=row["due_at"],
            attempts=row["attempts"],
            ambiguous=row["ambiguous"],
            dead=row["dead"],
            outcome=row["outcome"],
            outcome_at=row["outcome_at"],
        )
        for row in await database.rows("list_push_states", app_id, user_id, conversation_id)
    ]
