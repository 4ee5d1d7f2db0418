"""End users and devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from server.domain.errors import StaleHello
from server.domain.people import DeviceInfo, EndUser

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Record

    from server.storage.database import Database, Session

_properties = msgspec.json.Decoder(dict)
_encode = msgspec.json.Encoder().encode
ERASED = (
    "events",
    "conversations",
    "snapshots",
    "transactions",
    "ratings",
    "push_states",
    "webhook_deliveries",
    "webhook_lanes",
    "actions",
)
"""What there is of a user besides devices and the user's own row: a statement `erase_…` each."""


class Hold(NamedTuple):
    """How a socket holds its device; the greater one is the newer. `epoch` grows when the device changes hands."""

    epoch: int
    generation: int


class Standing(msgspec.Struct, frozen=True):
    """Where the log of a connected user stands (S5)."""

    app_id: UUID
    user_id: UUID
    usn: int
    auth_gen: int
    incarnation: str


def _user(row: Record) -> EndUser:
    return EndUser(
        app_id=row["app_id"],
        user_id=row["user_id"],
        external_id=row["external_id"],
        name=row["name"],
        email=row["email"],
        phone=row["phone"],
        locale=row["locale"],
        properties=_properties.decode(row["properties"]),
        usn=row["usn"],
        auth_gen=row["auth_gen"],
        incarnation=row["incarnation"],
        tokens_from=row["tokens_from"],
        trimmed_usn=row["trimmed_usn"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def ensure(
    session: Session,
    app_id: UUID,
    user_id: UUID,
    external_id: str,
    at: datetime,
    *,
    name: str | None = None,
    email: str | None = None,
    locale: str | None = None,
) -> None:
    """Make the user if it is new; take over what is given, leave the rest alone."""
    await session.run("ensure_user", app_id, user_id, external_id, name, email, locale, at)


async def ensure_many(database: Database, app_id: UUID, users: Sequence[tuple[UUID, str]], at: datetime) -> None:
    """Make those of (user id, external id) that are new."""
    await database.run("ensure_users", app_id, [user[0] for user in users], [user[1] for user in users], at)


async def find(source: Database | Session, app_id: UUID, user_id: UUID) -> EndUser | None:
    row = await source.row("find_user", app_id, user_id)
    return _user(row) if row else None


async def lock(session: Session, app_id: UUID, user_id: UUID) -> bool:
    """Hold the user's row until the transaction ends; False if there is no such user."""
    return await session.row("lock_user", app_id, user_id) is not None


async def put(session: Session, user: EndUser) -> EndUser:
    row = await session.row(
        "put_user",
        user.app_id,
        user.user_id,
        user.external_id,
        user.name,
        user.email,
        user.phone,
        user.locale,
        _encode(user.properties),
        user.updated_at,
    )
    assert row is not None
    return _user(row)


async def claim_device(
    session: Session, app_id: UUID, user_id: UUID, device: DeviceInfo, foreground_until: datetime | None, at: datetime
) -> tuple[Hold, UUID | None]:
    """Make the device this user's. Also returns its last owner if that was somebody else: their tokens are gone.

    Raises StaleHello if a newer hello of the device was there before; the transaction must then be given up.
    """
    await session.run("meet_device", app_id, device.device_id, user_id)
    owner = await session.row("lock_device_owner", app_id, device.device_id)
    assert owner is not None
    if device.attempt is not None:
        if device.attempt <= owner["attempt"]:
            raise StaleHello(device.attempt, owner["attempt"])
        await session.run("note_attempt", app_id, device.device_id, device.attempt)
    epoch, last = owner["epoch"], None
    if owner["user_id"] != user_id:
        last = owner["user_id"]
        epoch = await session.value("own_device", app_id, device.device_id, user_id)
        await session.run("drop_push_states_of_device", app_id, last, device.device_id)
        await session.run("drop_device", app_id, last, device.device_id)
    generation = await session.value(
        "put_device",
        app_id,
        user_id,
        device.device_id,
        epoch,
        device.platform,
        device.sdk,
        device.app_version,
        device.locale,
        foreground_until,
        at,
    )
    return Hold(epoch, generation), last


async def put_push_token(
    session: Session, app_id: UUID, user_id: UUID, device_id: UUID, provider: str, token: str, at: datetime
) -> int:
    """Register a token; whoever had it loses it first. Returns 0 if the device is not this user's any more."""
    await session.value("lock_push_token", app_id, provider, token)
    await session.rows("lock_token_devices", app_id, provider, token, user_id, device_id)
    await session.run("strip_push_token", app_id, provider, token, user_id, device_id)
    return await session.run("put_push_token", app_id, user_id, device_id, provider, token, at)


async def remove_push_token(session: Session, app_id: UUID, user_id: UUID, device_id: UUID) -> None:
    await session.run("put_push_token", app_id, user_id, device_id, None, None, None)
    await session.run("drop_push_states_of_device", app_id, user_id, device_id)


async def log_out_device(session: Session, app_id: UUID, user_id: UUID, device_id: UUID) -> None:
    await session.run("log_out_device", app_id, user_id, device_id)
    await session.run("drop_push_states_of_device", app_id, user_id, device_id)


async def revoke_tokens(database: Database, app_id: UUID, user_id: UUID, at: datetime) -> int | None:
    """Void every token issued before `at`; returns the new `auth_gen`, or None if there is no such user."""
    auth_gen: int | None = await database.value("revoke_tokens", app_id, user_id, at)
    return auth_gen


async def set_foreground(
    database: Database, app_id: UUID, user_id: UUID, device_id: UUID, generation: int, until: datetime | None
) -> None:
    """Set or end the foreground lease, if `generation` is still the device's newest socket."""
    await database.run("set_foreground", app_id, user_id, device_id, generation, until)


async def extend_foreground(database: Database, held: Sequence[tuple[UUID, UUID, UUID]], until: datetime) -> None:
    """Renew the foreground leases of (app, user, device)."""
    await database.run("extend_foreground", *[[each[column] for each in held] for column in range(3)], until)


async def put_acks(database: Database, acks: Sequence[tuple[UUID, UUID, UUID, int]]) -> None:
    """(app, user, device, usn): everything up to `usn` is stored on the device."""
    await database.run("put_acks", *[[ack[column] for ack in acks] for column in range(4)])


async def sweep(database: Database, held: Sequence[tuple[UUID, UUID]]) -> list[Standing]:
    """Where the logs of (app, user) stand."""
    rows = await database.rows("sweep_users", [user[0] for user in held], [user[1] for user in held])
    return [Standing(row["app_id"], row["user_id"], row["usn"], row["auth_gen"], row["incarnation"]) for row in rows]


async def erase(session: Session, app_id: UUID, user_id: UUID) -> bool:
    """Forget everything of a user; False if there was no such user. Locks the user first, so nothing is written
    meanwhile."""
    if not await lock(session, app_id, user_id):
        return False
    ids = [row["conversation_id"] for row in await session.rows("list_conversation_ids", app_id, user_id)]
    await session.run("erase_directory", ids)
    for name in ERASED:
        await session.run(f"erase_{name}", app_id, user_id)
    devices = [row["device_id"] for row in await session.rows("erase_devices", app_id, user_id)]
    await session.run("erase_device_directory", app_id, devices, user_id)
    await session.run("erase_user", app_id, user_id)
    return True
