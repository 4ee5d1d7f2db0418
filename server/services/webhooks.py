"""Endpoints of webhooks: what an app's developer may say of them, and see of their deliveries (docs/webhooks.md)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

from server.config_values import Secret
from server.domain.errors import BadRequest, Conflict, IdempotencyConflict, NotFound
from server.domain.ids import client_id_of, new_id
from server.domain.webhook import MAX_DESCRIPTION, MAX_ENDPOINTS, TYPES
from server.outgoing.interface import Answered, Call
from server.outgoing.signing import new_secret
from server.outgoing.targets import why_not_url
from server.services.vault import WrongKey
from server.services.webhook_body import ping
from server.services.webhook_delivery import words_of
from server.storage import webhooks
from server.storage.webhooks import Delivery, Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from server.clock import Clock
    from server.config_values import Network
    from server.outgoing.interface import Outgoing
    from server.services.vault import Vault
    from server.storage.database import Database

TEST_WITHIN_S = 10.0
OTHERS_END_WITHIN_S = 5.0
POLL_S = 0.02
STATES = ("pending", "delivered", "dead")


class Made(msgspec.Struct, frozen=True):
    """`secret` is shown when it is made. `repeated`: the endpoint was there already, from the same request."""

    endpoint: Endpoint
    secret: str
    repeated: bool = False


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A change; what is UNSET stays."""

    url: str | UnsetType = UNSET
    events: list[str] | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class Tested(msgspec.Struct, frozen=True):
    """`status` None: there was no answer. `error` None: it took the test."""

    event_id: UUID
    status: int | None
    error: str | None


class Webhooks:
    """`allowed`: networks that endpoints may be in though they are not public."""

    def __init__(
        self, database: Database, outgoing: Outgoing, vault: Vault, clock: Clock, allowed: Sequence[Network]
    ) -> None:
        self._database = database
        self._outgoing = outgoing
        self._vault = vault
        self._clock = clock
        self._allowed = allowed

    async def create(
        self, app_id: UUID, url: str, events: list[str], description: str | None, key: str | None = None
    ) -> Made:
        """A new endpoint; it hears of every event that is committed after this returns. The same idempotency `key`
        gives the same endpoint again. Raises Conflict when the app has as many as it may."""
        events = self._checked(url, events, description)
        now = self._clock.now()
        made_as = hashlib.sha256(msgspec.json.encode((url, events, description))).digest()
        endpoint_id = client_id_of(app_id, f"webhook {key}") if key is not None else new_id(now)
        endpoint = Endpoint(
            app_id=app_id,
            endpoint_id=endpoint_id,
            url=url,
            events=events,
            description=description,
            enabled=True,
            reason=None,
            paused_at=None,
            failing_since=None,
            made_as=made_as,
            created_at=now,
            updated_at=now,
        )
        secret = new_secret()
        async with self._database.transaction() as tx:
            await webhooks.lock_app(tx, app_id)
            earlier = await webhooks.find(tx, app_id, endpoint_id)
            if earlier is not None:
                return await self._repeated(earlier, made_as)
            if await webhooks.count(tx, app_id) >= MAX_ENDPOINTS:
                raise Conflict(f"An app has at most {MAX_ENDPOINTS} webhooks; delete one that is not used.")
            if not await webhooks.insert(tx, endpoint):
                raise IdempotencyConflict(
                    "This key was used for a webhook that was deleted; make a new key.", field="Idempotency-Key"
                )
            await webhooks.add_secret(tx, endpoint_id, new_id(now), self._vault.seal(secret.encode()), now)
            await webhooks.announce_change(tx)
        await self._until_all_know()
        return Made(endpoint, secret)

    async def find(self, app_id: UUID, endpoint_id: UUID) -> Endpoint:
        found = await webhooks.find(self._database, app_id, endpoint_id)
        if found is None:
            raise NotFound("There is no such webhook.", field="webhook")
        return found

    async def list_endpoints(self, app_id: UUID, after: UUID | None, limit: int) -> list[Endpoint]:
        return await webhooks.list_endpoints(self._database, app_id, after, limit)

    async def change(self, app_id: UUID, endpoint_id: UUID, wish: Wish) -> Endpoint:
        """Change what is given. With `enabled` true, or another URL, it begins anew: a pause and a bad past are
        forgotten."""
        now = self._clock.now()
        async with self._database.transaction() as tx:
            await webhooks.lock_app(tx, app_id)
            known = await webhooks.find(tx, app_id, endpoint_id)
            if known is None:
                raise NotFound("There is no such webhook.", field="webhook")
            asked = {name: value for name in wish.__struct_fields__ if (value := getattr(wish, name)) is not UNSET}
            wanted = msgspec.structs.replace(known, **asked)
            events = self._checked(wanted.url, wanted.events, wanted.description)
            wanted = msgspec.structs.replace(wanted, events=events)
            resumed = wish.enabled is True or wanted.url != known.url
            changed = await webhooks.put(tx, wanted, now, resumed=resumed)
            await webhooks.announce_change(tx)
        assert changed is not None
        await self._until_all_know()
        return changed

    async def delete(self, app_id: UUID, endpoint_id: UUID) -> None:
        """Nothing is called any more; what waits is forgotten."""
        async with self._database.transaction() as tx:
            if not await webhooks.delete(tx, app_id, endpoint_id, self._clock.now()):
                raise NotFound("There is no such webhook.", field="webhook")
            await webhooks.announce_change(tx)

    async def rotate_secret(self, app_id: UUID, endpoint_id: UUID) -> Made:
        """A new secret; the ones before go on signing beside it for a day."""
        now = self._clock.now()
        secret = new_secret()
        async with self._database.transaction() as tx:
            await webhooks.lock_app(tx, app_id)
            endpoint = await webhooks.find(tx, app_id, endpoint_id)
            if endpoint is None:
                raise NotFound("There is no such webhook.", field="webhook")
            await webhooks.add_secret(tx, endpoint_id, new_id(now), self._vault.seal(secret.encode()), now)
        return Made(endpoint, secret)

    async def test(self, app_id: UUID, endpoint_id: UUID) -> Tested:
        """Send a `ping` now, outside of every queue, whether it is switched on or not, and say what became of it."""
        endpoint = await self.find(app_id, endpoint_id)
        now = self._clock.now()
        event_id = new_id(now)
        sealed = await webhooks.list_secrets(self._database, endpoint_id, now)
        try:
            secrets = tuple(Secret(self._vault.open(each).decode()) for each in sealed)
        except WrongKey:
            return Tested(event_id, None, "not called: its secret cannot be read, rotate it")
        body = ping(event_id, app_id, now)
        outcome = await self._outgoing.post(
            Call(url=endpoint.url, id=str(event_id), body=body, secrets=secrets, within_s=TEST_WITHIN_S)
        )
        if isinstance(outcome, Answered):
            return Tested(event_id, outcome.status, None if outcome.ok else words_of(outcome))
        return Tested(event_id, None, words_of(outcome))

    async def list_deliveries(
        self, app_id: UUID, endpoint_id: UUID, state: str | None, before: UUID | None, limit: int
    ) -> list[Delivery]:
        """Newest first."""
        await self.find(app_id, endpoint_id)
        states = [state] if state is not None else list(STATES)
        return await webhooks.list_deliveries(self._database, endpoint_id, states, before, limit)

    async def replay(self, app_id: UUID, endpoint_id: UUID, event_id: UUID) -> Delivery:
        """Deliver it once more, after whatever waits in its conversation; what waits itself is tried now."""
        await self.find(app_id, endpoint_id)
        while True:
            found = await webhooks.find_delivery(self._database, endpoint_id, event_id)
            if found is None:
                raise NotFound("There is no such delivery.", field="delivery")
            if await webhooks.replay(self._database, found, self._clock.now()):
                break
        again = await webhooks.find_delivery(self._database, endpoint_id, event_id)
        return again or found

    def _checked(self, url: str, events: list[str], description: str | None) -> list[str]:
        """The event types without repeats, in one order. Raises BadRequest."""
        reason = why_not_url(url, self._allowed)
        if reason is not None:
            raise BadRequest(f"`url` {reason}.", field="url")
        for kind in events:
            if kind not in TYPES:
                raise BadRequest(f"There is no event `{kind[:100]}`; there are: {', '.join(TYPES)}.", field="events")
        if not events:
            raise BadRequest(f"Name at least one event: {', '.join(TYPES)}.", field="events")
        if description is not None and len(description) > MAX_DESCRIPTION:
            raise BadRequest(f"A description has at most {MAX_DESCRIPTION} characters.", field="description")
        return [kind for kind in TYPES if kind in events]

    async def _repeated(self, earlier: Endpoint, made_as: bytes) -> Made:
        if earlier.made_as != made_as:
            raise IdempotencyConflict("This key was used for another webhook; make a new key.", field="Idempotency-Key")
        sealed = await webhooks.list_secrets(self._database, earlier.endpoint_id, self._clock.now())
        return Made(earlier, self._vault.open(sealed[0]).decode(), repeated=True)

    async def _until_all_know(self) -> None:
        """Wait for the transactions that may not have seen the change, so that what is committed after our answer has
        seen it. They are short; should one not be, we have waited long enough."""
        moment = await webhooks.database_time(self._database)
        deadline = self._clock.monotonic() + OTHERS_END_WITHIN_S
        while await webhooks.is_older_under_way(self._database, moment) and self._clock.monotonic() < deadline:
            await self._clock.sleep(POLL_S)
