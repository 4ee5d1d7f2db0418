"""What an app's developer lets agents do (docs/actions.md)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from server.domain.action import MAX_DEFINITIONS, Approval, Definition, OverLimit
from server.domain.errors import BadRequest, Conflict, IdempotencyConflict, NotFound
from server.domain.ids import client_id_of, new_id
from server.outgoing.signing import new_secret
from server.outgoing.targets import why_not_url
from server.services import action_parameters
from server.storage import action_definitions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from server.clock import Clock
    from server.config_values import Network
    from server.domain.transaction import Amount
    from server.services.vault import Vault
    from server.storage.database import Database


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A definition as an app gives it."""

    name: str
    title: str
    url: str
    kinds: list[str] = []
    parameters: dict[str, Any] = msgspec.field(default_factory=lambda: action_parameters.NO_PARAMETERS)
    amount_limit: Amount | None = None
    over_limit: OverLimit = "refuse"
    approval: Approval = "none"
    allow_parallel: bool = False
    enabled: bool = True


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is UNSET stays. The name is for good: it is what agents' programs press."""

    title: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    kinds: list[str] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    amount_limit: Amount | None | UnsetType = UNSET
    over_limit: OverLimit | UnsetType = UNSET
    approval: Approval | UnsetType = UNSET
    allow_parallel: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class MadeDefinition(msgspec.Struct, frozen=True):
    """`secret` is shown when it is made. `repeated`: it was there already, from the same request."""

    definition: Definition
    secret: str
    repeated: bool = False


class ActionDefinitions:
    """`allowed`: networks that endpoints may be in though they are not public."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, allowed: Sequence[Network]) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._allowed = allowed

    async def create(self, app_id: UUID, wanted: Wanted, key: str | None = None) -> MadeDefinition:
        """Agents may press it from now on. The same idempotency `key` gives the same one again. Raises Conflict for a
        name that is taken, and when the app has as many as it may."""
        now = self._clock.now()
        definition = Definition(
            app_id=app_id,
            definition_id=client_id_of(app_id, f"action {key}") if key is not None else new_id(now),
            made_as=hashlib.sha256(msgspec.json.encode(wanted, order="sorted")).digest(),
            created_at=now,
            updated_at=now,
            **msgspec.structs.asdict(wanted),
        )
        await action_parameters.load()
        self._check(definition)
        secret = new_secret()
        async with self._database.transaction() as tx:
            await action_definitions.lock_app(tx, app_id)
            earlier = await action_definitions.find(tx, app_id, definition.definition_id)
            if earlier is not None:
                if earlier.made_as != definition.made_as:
                    raise IdempotencyConflict(
                        "This key was used for another action; make a new key.", field="Idempotency-Key"
                    )
                sealed = await action_definitions.list_secrets(tx, earlier.definition_id, now)
                return MadeDefinition(earlier, self._vault.open(sealed[0]).decode(), repeated=True)
            if await action_definitions.find_by_name(tx, app_id, wanted.name) is not None:
                raise Conflict("There is an action with this name; change it, or take another name.", field="name")
            if await action_definitions.count(tx, app_id) >= MAX_DEFINITIONS:
                raise Conflict(f"An app has at most {MAX_DEFINITIONS} actions; delete one that is not used.")
            await action_definitions.insert(tx, definition)
            await self._add_secret(tx, definition.definition_id, secret)
        return MadeDefinition(definition, secret)

    async def find(self, app_id: UUID, definition_id: UUID) -> Definition:
        found = await action_definitions.find(self._database, app_id, definition_id)
        if found is None:
            raise _none()
        return found

    async def list_definitions(self, app_id: UUID, after: UUID | None, limit: int) -> list[Definition]:
        return await action_definitions.list_definitions(self._database, app_id, after, limit)

    async def change(self, app_id: UUID, definition_id: UUID, change: Change) -> Definition:
        """For presses from now on; what was pressed before goes to the new URL, too."""
        await action_parameters.load()
        async with self._database.transaction() as tx:
            await action_definitions.lock_app(tx, app_id)
            known = await action_definitions.find(tx, app_id, definition_id)
            if known is None:
                raise _none()
            asked = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not UNSET}
            changed = msgspec.structs.replace(known, **asked, updated_at=self._clock.now())
            self._check(changed)
            await action_definitions.put(tx, changed)
        return changed

    async def delete(self, app_id: UUID, definition_id: UUID) -> None:
        """Nobody can press it any more; what was pressed before is still asked for until it is settled."""
        if not await action_definitions.delete(self._database, app_id, definition_id, self._clock.now()):
            raise _none()

    async def rotate_secret(self, app_id: UUID, definition_id: UUID) -> MadeDefinition:
        """A new secret; the ones before go on signing beside it for a day."""
        secret = new_secret()
        async with self._database.transaction() as tx:
            await action_definitions.lock_app(tx, app_id)
            definition = await action_definitions.find(tx, app_id, definition_id)
            if definition is None:
                raise _none()
            await self._add_secret(tx, definition_id, secret)
        return MadeDefinition(definition, secret)

    async def _add_secret(self, tx: Any, definition_id: UUID, secret: str) -> None:
        now = self._clock.now()
        await action_definitions.add_secret(tx, definition_id, new_id(now), self._vault.seal(secret.encode()), now)

    def _check(self, definition: Definition) -> None:
        reason = why_not_url(definition.url, self._allowed)
        if reason is not None:
            raise BadRequest(f"`url` {reason}.", field="url")
        action_parameters.check_schema(definition.parameters)
        limit = definition.amount_limit
        if limit is not None and limit.value.startswith("-"):
            raise BadRequest("A limit is not negative.", field="amount_limit.value")


def _none() -> NotFound:
    return NotFound("There is no such action.", field="action")
