"""Apps, their keys and who speaks for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from server.domain.errors import BadRequest, DomainError, NotFound, Unauthorized
from server.domain.identity import MAX_KEYS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from tests.support.services import World


def public(key: PrivateKeyTypes) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private(key: PrivateKeyTypes) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(scope="module")
def keys() -> dict[str, PrivateKeyTypes]:
    """A good key for each algorithm."""
    return {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }


async def test_a_new_app_can_sign_and_speak(world: World) -> None:
    made = await world.app("  Kestrel ")
    assert made.app.name == "Kestrel"
    assert made.server_key.startswith("dbs_")
    assert (made.identity.kid, made.identity.alg) == ("k1", "HS256")
    assert len(made.identity.secret.encode()) >= 32
    assert await world.apps.find(made.app.app_id) == made.app
    assert await world.apps.by_server_key(made.server_key) == made.app


async def test_secrets_are_not_in_the_database(world: World) -> None:
    made = await world.app()
    async with world.database.session() as session:
        keys = await session.connection.fetch("select * from app_key")
        server_keys = await session.connection.fetch("select * from server_key")
    dump = repr([dict(row) for row in (*keys, *server_keys)])
    assert made.identity.secret not in dump
    assert made.server_key not in dump
    assert made.server_key.removeprefix("dbs_") not in dump


async def test_a_key_of_one_app_speaks_for_that_app_only(world: World) -> None:
    kestrel, heron = await world.app("Kestrel"), await world.app("Heron")
    assert (await world.apps.by_server_key(heron.server_key)).app_id == heron.app.app_id != kestrel.app.app_id


NO_KEYS: list[str] = ["", "dbs_", "dbs_x", "dba_x", "Bearer", "dbs_" + "\x00", "dbs_" + "x" * 10_000]


async def test_anybody_else_is_refused(world: World) -> None:
    for wrong in NO_KEYS:
        made = await world.app()
        for key in (wrong, made.server_key + "x", made.server_key.removeprefix("dbs_")):
            with pytest.raises(Unauthorized, match="server key"):
                await world.apps.by_server_key(key)


NO_NAMES: list[str] = ["", "   ", "x" * 101, "a\nb", "a\x00"]


async def test_an_app_has_a_name_one_can_read(world: World) -> None:
    for name in NO_NAMES:
        with pytest.raises(BadRequest) as refused:
            await world.apps.create(name)
        assert refused.value.field == "name"


async def test_an_app_that_is_not_there(world: World) -> None:
    with pytest.raises(NotFound):
        await world.apps.find(UUID(int=1))
    with pytest.raises(NotFound):
        await world.apps.add_key(UUID(int=1), "k2", "HS256", "s" * 32)


async def test_ten_keys_and_no_more(world: World) -> None:
    app = (await world.app()).app.app_id
    for number in range(2, MAX_KEYS + 1):
        await world.apps.add_key(app, f"k{number}", "HS256", "s" * 32)
    with pytest.raises(BadRequest, match="at most 10 keys") as refused:
        await world.apps.add_key(app, "k11", "HS256", "s" * 32)
    assert refused.value.field == "kid"


UNUSABLE = [
    ("k2", "HS256", "s" * 31, "material"),
    ("k2", "HS256", "", "material"),
    ("k2", "none", "s" * 32, "alg"),
    ("k2", "HS512", "s" * 64, "alg"),
    ("k2", "RS256", "s" * 32, "material"),
    ("k2", "ES256", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", "material"),
    ("", "HS256", "s" * 32, "kid"),
    ("x" * 201, "HS256", "s" * 32, "kid"),
    ("a\x00", "HS256", "s" * 32, "kid"),
    ("k1", "HS256", "s" * 32, "kid"),
]


async def test_a_key_one_cannot_use_is_refused(world: World) -> None:
    app = (await world.app()).app.app_id
    for kid, alg, material, field in UNUSABLE:
        with pytest.raises(BadRequest) as refused:
            await world.apps.add_key(app, kid, alg, material)
        assert refused.value.field == field


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
async def test_only_the_public_half_and_only_of_its_own_kind(
    world: World, keys: dict[str, PrivateKeyTypes], alg: str
) -> None:
    app = (await world.app()).app.app_id
    with pytest.raises(BadRequest, match="private key"):
        await world.apps.add_key(app, "mine", alg, private(keys[alg]))
    for other, key in keys.items():
        if other != alg:
            with pytest.raises(BadRequest, match=f"not a public key in PEM for {alg}"):
                await world.apps.add_key(app, "mine", alg, public(key))
    await world.apps.add_key(app, "mine", alg, public(keys[alg]))


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        ("RS256", rsa.generate_private_key(65537, 1024)),
        ("ES256", ec.generate_private_key(ec.SECP384R1())),
        ("ES256", ec.generate_private_key(ec.SECP256K1())),
        ("EdDSA", x25519.X25519PrivateKey.generate()),
    ],
    ids=["RSA of 1024 bits", "P-384", "secp256k1", "X25519"],
)
async def test_a_key_that_could_never_verify_is_refused_at_once(world: World, alg: str, key: PrivateKeyTypes) -> None:
    # RFC 7518, sections 3.3 (RSA of 2048 bits or more) and 3.4 (ES256 is P-256); RFC 8037 (X25519 does not sign).
    app = (await world.app()).app.app_id
    with pytest.raises(BadRequest) as refused:
        await world.apps.add_key(app, "mine", alg, public(key))
    assert refused.value.field == "material"


async def test_two_that_add_the_same_key_at_once(world: World) -> None:
    app = (await world.app()).app.app_id
    async with world.database.session(), world.database.session(), world.database.session():
        pass  # so that there are connections to race on
    outcomes = await asyncio.gather(
        *(world.apps.add_key(app, "same", "HS256", "s" * 32) for _ in range(5)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert all(outcome is None or isinstance(outcome, DomainError) for outcome in outcomes), outcomes
