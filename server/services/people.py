"""End users: who they are, the devices they hold, and forgetting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from server.bus.interface import LoggedOut, Replaced, user_channel
from server.domain.errors import BadRequest, NotFound, Unauthorized
from server.domain.ids import user_id_of
from server.domain.people import EndUser, check_external_id, merge_properties
from server.storage import log, people, transactions

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from server.bus.interface import Bus
    from server.clock import Clock
    from server.domain.events import Event
    from server.domain.identity import Claims
    from server.domain.people import DeviceInfo
    from server.domain.transaction import Transaction
    from server.storage.database import Database

EXPORT_PAGE = 500


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What an app's server says of a user. UNSET is left alone, None is removed."""

    name: str | None | msgspec.UnsetType = msgspec.UNSET
    email: str | None | msgspec.UnsetType = msgspec.UNSET
    phone: str | None | msgspec.UnsetType = msgspec.UNSET
    locale: str | None | msgspec.UnsetType = msgspec.UNSET
    properties: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Export(msgspec.Struct, frozen=True):
    """`transactions` newest first; `events` by `usn`, so without private notes."""

    user: EndUser
    transactions: list[Transaction]
    events: list[Event]
    exported_at: datetime


class People:
    """Users and devices."""

    def __init__(self, database: Database, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock

    async def say_hello(
        self, claims: Claims, device: DeviceInfo, foreground: timedelta | None
    ) -> tuple[EndUser, people.Hold, str]:
        """A device has proved whose it is: make the user if it is new, and the device the user's. Also returns the
        history of the database in which this is true.

        Older sockets of the same device hear of it; of somebody else who had the device before, the push tokens go.
        Raises StaleHello, and nothing has changed, if a newer hello of the device was here before: this one was held up
        on its way, and the socket it came on is not the one the device uses.
        """
        now = self._clock.now()
        app_id, user_id = claims.app_id, user_id_of(claims.app_id, claims.external_id)
        until = now + foreground if foreground else None
        async with self._database.transaction() as tx:
            await people.ensure(
                tx,
                app_id,
                user_id,
                claims.external_id,
                now,
                name=claims.name,
                email=claims.email,
                locale=claims.locale,
            )
            hold, last_owner = await people.claim_device(tx, app_id, user_id, device, until, now)
            user = await people.find(tx, app_id, user_id)
            assert user is not None
            check_token(user, claims)
            history = await log.history(tx)
        owners = {user_id} | ({last_owner} if last_owner else set())
        replaced = Replaced(app_id, device.device_id, hold.epoch, hold.generation)
        self._bus.publish([(user_channel(app_id, owner), replaced) for owner in owners])
        return user, hold, history

    async def put(self, app_id: UUID, external_id: str, facts: Facts) -> EndUser:
        """Take over what the app's server says; make the user if it is new."""
        check_external_id(external_id)
        user_id = user_id_of(app_id, external_id)
        now = self._clock.now()
        async with self._database.transaction() as tx:
            await people.ensure(tx, app_id, user_id, external_id, now)
            await people.lock(tx, app_id, user_id)
            known = await people.find(tx, app_id, user_id)
            assert known is not None
            changes = {
                field: value
                for field in ("name", "email", "phone", "locale")
                if (value := getattr(facts, field)) is not msgspec.UNSET
            }
            if isinstance(facts.properties, dict):
                changes["properties"] = merge_properties(known.properties, facts.properties)
            return await people.put(tx, msgspec.structs.replace(known, **changes, updated_at=now))

    async def find(self, app_id: UUID, external_id: str) -> EndUser:
        check_external_id(external_id)
        found = await people.find(self._database, app_id, user_id_of(app_id, external_id))
        if found is None:
            raise NotFound("There is no such user.", field="external_id")
        return found

    async def find_by_id(self, app_id: UUID, user_id: UUID) -> EndUser:
        found = await people.find(self._database, app_id, user_id)
        if found is None:
            raise NotFound("There is no such user.")
        return found

    async def erase(self, app_id: UUID, external_id: str) -> None:
        """Forget a user: every row, device and push token, in one transaction. Its sockets close."""
        user = await self.find(app_id, external_id)
        async with self._database.transaction() as tx:
            if not await people.erase(tx, app_id, user.user_id):
                raise NotFound("There is no such user.", field="external_id")
        hint = LoggedOut(app_id, user.user_id, user.auth_gen + 1)
        self._bus.publish([(user_channel(app_id, user.user_id), hint)])

    async def export(self, app_id: UUID, external_id: str) -> Export:
        """Everything we hold of a user that the user may see."""
        user = await self.find(app_id, external_id)
        events: list[Event] = []
        while page := (
            await log.after_usn(
                self._database, app_id, user.user_id, (events[-1].usn or 0) if events else 0, EXPORT_PAGE
            )
        ).events:
            events += page
        known: list[tuple[datetime, Transaction]] = []
        while part := await transactions.list_newest(
            self._database, app_id, user.user_id, EXPORT_PAGE, (known[-1][0], known[-1][1].id) if known else None
        ):
            known += part
        return Export(user, [transaction for _, transaction in known], events, self._clock.now())

    async def check_token(self, claims: Claims) -> None:
        """Raises Unauthorized if the token of `claims` was revoked after it was issued."""
        user_id = user_id_of(claims.app_id, claims.external_id)
        user = await people.find(self._database, claims.app_id, user_id)
        if user is not None:
            check_token(user, claims)

    async def revoke_tokens(self, app_id: UUID, external_id: str) -> None:
        """Every token issued to the user before now is void, and its open sockets close. The app's server may issue
        new ones at once."""
        user = await self.find(app_id, external_id)
        auth_gen = await people.revoke_tokens(self._database, app_id, user.user_id, self._clock.now())
        if auth_gen is not None:
            hint = LoggedOut(app_id, user.user_id, auth_gen)
            self._bus.publish([(user_channel(app_id, user.user_id), hint)])

    async def register_push_token(
        self, app_id: UUID, user_id: UUID, device_id: UUID, provider: str, token: str | None
    ) -> None:
        """Remember where a device is pushed to, or None to stop. A token that another device had moves here."""
        now = self._clock.now()
        async with self._database.transaction() as tx:
            if token is None:
                await people.remove_push_token(tx, app_id, user_id, device_id)
                return
            if not await people.put_push_token(tx, app_id, user_id, device_id, provider, token, now):
                raise BadRequest("This device belongs to another user now; say hello again.", field="token")

    async def log_out(self, app_id: UUID, user_id: UUID, device_id: UUID) -> None:
        """The push tokens of the device go in this very transaction."""
        async with self._database.transaction() as tx:
            await people.log_out_device(tx, app_id, user_id, device_id)

    async def set_foreground(
        self, app_id: UUID, user_id: UUID, device_id: UUID, hold: people.Hold, until: timedelta | None
    ) -> None:
        """The device is looked at for now, or it is not: how long a push waits for its ack."""
        lease = self._clock.now() + until if until else None
        await people.set_foreground(self._database, app_id, user_id, device_id, hold.generation, lease)

    async def keep_foreground(self, held: list[tuple[UUID, UUID, UUID]], until: timedelta) -> None:
        """Renew the leases of (app, user, device)."""
        await people.extend_foreground(self._database, held, self._clock.now() + until)

    async def take_acks(self, acks: list[tuple[UUID, UUID, UUID, int]]) -> None:
        """(app, user, device, usn): stored on the device up to there, so no push is needed for it."""
        await people.put_acks(self._database, acks)


def check_token(user: EndUser, claims: Claims) -> None:
    """Raises Unauthorized if the token was issued before the user's tokens were revoked."""
    if not user.accepts(claims.issued_at):
        raise Unauthorized("This token was revoked: get a new one from your server.", field="token")
