"""Setting up: apps with their keys, and the server keys that speak for them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from server.domain.errors import BadRequest, NotFound, Unauthorized
from server.domain.identity import ALGORITHMS, MAX_KEYS, MIN_SECRET_BYTES
from server.domain.ids import SERVER_KEY_PREFIX, new_id, new_secret, secret_hash
from server.services.identity import check_public_key
from server.storage import apps
from server.storage.apps import App, AppKey

if TYPE_CHECKING:
    from uuid import UUID

    from server.clock import Clock
    from server.services.vault import Vault
    from server.storage.database import Database


class SigningKey(msgspec.Struct, frozen=True):
    """What an app's server signs user tokens with. `secret` is shown once."""

    kid: str
    alg: str
    secret: str


class NewApp(msgspec.Struct, frozen=True):
    app: App
    server_key: str
    identity: SigningKey


class Apps:
    """Apps and their credentials."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def create(self, name: str, app_id: UUID | None = None) -> NewApp:
        """Make an app with a server key and an HS256 key. Both secrets are shown here and never again."""
        name = name.strip()
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise BadRequest("An app's name is 1 to 100 printable characters.", field="name")
        now = self._clock.now()
        app = App(app_id or new_id(now), name)
        server_key = new_secret(SERVER_KEY_PREFIX)
        identity = SigningKey("k1", "HS256", secrets.token_urlsafe(48))
        async with self._database.transaction() as session:
            await apps.insert_app(session, app, now)
            await apps.insert_key(
                session, AppKey(app.app_id, identity.kid, "HS256", self._vault.seal(identity.secret.encode())), now
            )
            await apps.insert_server_key(session, secret_hash(server_key), app.app_id, "first key", now)
        return NewApp(app, server_key, identity)

    async def add_key(self, app_id: UUID, kid: str, alg: str, material: str) -> None:
        """Register another key: an HS256 secret of ≥ 32 bytes, or a public key in PEM. An app has at most ten.

        Raises BadRequest naming the field, NotFound if there is no such app.
        """
        if alg not in ALGORITHMS:
            raise BadRequest(f"`alg` must be one of {', '.join(ALGORITHMS)}.", field="alg")
        if not 1 <= len(kid) <= 200 or not kid.isprintable():
            raise BadRequest("A `kid` is 1 to 200 printable characters.", field="kid")
        stored = material.encode()
        if alg == "HS256":
            if len(stored) < MIN_SECRET_BYTES:
                raise BadRequest(f"The secret must have at least {MIN_SECRET_BYTES} bytes.", field="material")
            stored = self._vault.seal(stored)
        else:
            try:
                check_public_key(alg, stored)
            except ValueError as error:
                raise BadRequest(f"{error}.", field="material") from None
        await self.find(app_id)
        known = await apps.list_keys(self._database, app_id)
        if any(key.kid == kid for key in known):
            raise BadRequest("There is a key with this `kid` already.", field="kid")
        if len(known) >= MAX_KEYS:
            raise BadRequest(f"An app has at most {MAX_KEYS} keys; remove one first.", field="kid")
        try:
            async with self._database.session() as session:
                await apps.insert_key(session, AppKey(app_id, kid, alg, stored), self._clock.now())
        except asyncpg.UniqueViolationError:  # somebody else was faster
            raise BadRequest("There is a key with this `kid` already.", field="kid") from None

    async def check_vault(self) -> None:
        """Raises WrongKey when what is stored was sealed with another secret key than this process has."""
        sealed = await apps.find_sealed_secret(self._database)
        if sealed is not None:
            self._vault.open(sealed)

    async def find(self, app_id: UUID) -> App:
        found = await apps.find_app(self._database, app_id)
        if found is None:
            raise NotFound("There is no such app.", field="app")
        return found

    async def by_server_key(self, server_key: str) -> App:
        """The app that a server key speaks for. Raises Unauthorized."""
        found = None
        if server_key.startswith(SERVER_KEY_PREFIX):
            found = await apps.find_by_server_key(self._database, secret_hash(server_key))
        if found is None:
            raise Unauthorized("This needs a server key (dbs_…) in the Authorization header.")
        return found
