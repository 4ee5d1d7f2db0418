"""User tokens (protocol.md, "Identity"): whose they are, and every way in which they are not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from server.domain.errors import BadRequest, Unauthorized
from server.domain.identity import Expired
from server.services.identity import KEY_CACHE_S, MAX_TOKEN_CHARS
from server.services.vault import WrongKey
from tests.server.services.test_apps import private, public
from tests.support.services import running_services

if TYPE_CHECKING:
    from server.services.apps import NewApp
    from tests.support.services import World

RSA, OTHER_RSA = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, tuple[Any, Any]] = {"RS256": (RSAKey, RSA), "ES256": (ECKey, P256), "EdDSA": (OKPKey, ED25519)}


@dataclass
class Signer:
    """An app's own server."""

    world: World
    app: NewApp

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = self.world.clock.now().timestamp()
        made = {"sub": "ada", "aud": str(self.app.app.app_id), "iat": int(now), "exp": int(now) + 3600} | changes
        return {name: value for name, value in made.items() if value is not ...}

    def sign(self, key: Any = None, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        key = key or OctKey.import_key(self.app.identity.secret)
        full = {"alg": "HS256", "kid": "k1"} | (header or {})
        full = {name: value for name, value in full.items() if value is not ...}
        return jwt.encode(full, self.claims(**changes), key, algorithms=["HS256", "HS512", "RS256", "ES256", "EdDSA"])


@pytest.fixture
async def signer(world: World) -> Signer:
    return Signer(world, await world.app())


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def refused(world: World, token: str, words: str) -> None:
    with pytest.raises(Unauthorized, match=words) as refusal:
        await world.identity.verify(token)
    assert refusal.value.field == "token"
    assert not isinstance(refusal.value, Expired)


async def test_a_good_token_names_its_user(world: World, signer: Signer) -> None:
    claims = await world.identity.verify(signer.sign(name="Ada", email="ada@example.com", locale="en"))
    assert (claims.app_id, claims.external_id, claims.name) == (signer.app.app.app_id, "ada", "Ada")
    assert claims.expires_at == world.clock.now().replace(microsecond=0) + timedelta(hours=1)
    assert (await world.identity.verify(signer.sign(aud=[str(signer.app.app.app_id)]))).external_id == "ada"


# RFC 9864 renames EdDSA; the server takes the old name without a word, and pytest sets its own filters over ours.
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("alg", KEYS)
async def test_each_algorithm_verifies(world: World, signer: Signer, alg: str) -> None:
    kind, key = KEYS[alg]
    await world.apps.add_key(signer.app.app.app_id, "theirs", alg, public(key))
    token = signer.sign(kind.import_key(private(key).encode()), header={"alg": alg, "kid": "theirs"})
    assert (await world.identity.verify(token)).external_id == "ada"


async def test_a_public_key_is_no_secret(world: World, signer: Signer) -> None:
    """The oldest attack on JWTs: sign with HS256 and the public key, which everyone has."""
    await world.apps.add_key(signer.app.app.app_id, "theirs", "RS256", public(RSA))
    head = encoded({"alg": "HS256", "kid": "theirs"}) + "." + encoded(signer.claims())
    mac = hmac.new(public(RSA).encode(), head.encode(), hashlib.sha256).digest()
    await refused(world, f"{head}.{encoded(mac)}", "signs with RS256")


OTHER_ALGORITHMS: list[Any] = ["none", "None", "NONE", "", None, 5, "HS384", "HS512", ...]


async def test_the_token_does_not_choose_its_algorithm(world: World, signer: Signer) -> None:
    for alg in OTHER_ALGORITHMS:
        header = {name: value for name, value in {"alg": alg, "kid": "k1"}.items() if value is not ...}
        good = signer.sign().rpartition(".")[2]
        for signature in ("", good):
            token = f"{encoded(header)}.{encoded(signer.claims())}.{signature}"
            with pytest.raises(Unauthorized):
                await world.identity.verify(token)


async def test_another_ones_signature_does_not_fit(world: World, signer: Signer) -> None:
    await refused(world, signer.sign(OctKey.import_key("x" * 48)), "not signed with a key")
    await world.apps.add_key(signer.app.app.app_id, "theirs", "RS256", public(RSA))
    token = signer.sign(RSAKey.import_key(private(OTHER_RSA).encode()), header={"alg": "RS256", "kid": "theirs"})
    await refused(world, token, "not signed with a key")


async def test_claims_cannot_be_changed_afterwards(world: World, signer: Signer) -> None:
    head, _, signature = signer.sign().split(".")
    await refused(world, f"{head}.{encoded(signer.claims(sub='ben'))}.{signature}", "not signed with a key")
    other_head = encoded({"alg": "HS256", "kid": "k1", "typ": "JWT"})
    await refused(world, f"{other_head}.{encoded(signer.claims())}.{signature}", "not signed with a key")


OTHER_KEYS: list[Any] = ["k2", "", "x" * 201, "k1\x00", 5, None, ["k1"], ...]


async def test_the_key_must_be_named_and_known(world: World, signer: Signer) -> None:
    for kid in OTHER_KEYS:
        header = {name: value for name, value in {"alg": "HS256", "kid": kid}.items() if value is not ...}
        signature = signer.sign().rpartition(".")[2]
        await refused(world, f"{encoded(header)}.{encoded(signer.claims())}.{signature}", "kid|key")


async def test_a_key_of_one_app_signs_for_that_app_only(world: World, signer: Signer) -> None:
    heron = Signer(world, await world.app("Heron"))
    await refused(world, signer.sign(aud=str(heron.app.app.app_id)), "not signed with a key")
    assert (await world.identity.verify(heron.sign())).app_id == heron.app.app.app_id


OTHER_AUDIENCES: list[Any] = [
    ...,
    None,
    "",
    "kestrel",
    5,
    [],
    ["a", "b"],
    str(UUID(int=9)),
    {"a": 1},
    [["x"]],
    "x" * 5000,
]


async def test_a_token_for_nobody_we_know(world: World, signer: Signer) -> None:
    for aud in OTHER_AUDIENCES:
        await refused(world, signer.sign(aud=aud), "aud")


async def test_times_are_checked_against_our_clock(world: World, signer: Signer) -> None:
    token = signer.sign()
    world.clock.move(3599)
    await world.identity.verify(token)
    world.clock.move(1)
    with pytest.raises(Expired):
        await world.identity.verify(token)
    now = int(world.clock.now().timestamp())
    await refused(world, signer.sign(iat=now + 120), "not valid yet")
    await refused(world, signer.sign(nbf=now + 120), "not valid yet")
    await refused(world, signer.sign(exp=now + 25 * 3600), "24 hours")
    await refused(world, signer.sign(exp=...), "exp")
    await refused(world, signer.sign(iat=...), "iat")
    await refused(world, signer.sign(sub=...), "sub")


NO_TOKENS: list[Any] = [
    "",
    "x",
    "a.b",
    "a.b.c",
    "a.b.c.d.e",
    "...",
    "\ud800.b.c",
    "ü.ü.ü",
    f"{encoded([])}.{encoded({})}.x",
    f"{encoded('text')}.{encoded({})}.x",
    f"{encoded({'alg': 'HS256', 'kid': 'k1'})}.{encoded([])}.x",
    f"{encoded({'alg': 'HS256', 'kid': 'k1'})}.{encoded(b'[' * 4000)}.x",
    f"{encoded({'alg': 'HS256', 'kid': 'k1', 'crit': ['b64'], 'b64': False})}.{encoded({})}.x",
]


async def test_what_is_no_token_is_refused(world: World) -> None:
    for token in NO_TOKENS:
        with pytest.raises(Unauthorized) as refusal:
            await world.identity.verify(token)
        assert refusal.value.field == "token"


async def test_an_unknown_critical_header_is_refused(world: World, signer: Signer) -> None:
    # RFC 7515, section 4.1.11: what must be understood and is not makes the token void.
    header = {"alg": "HS256", "kid": "k1", "crit": ["urgent"], "urgent": True}
    head = f"{encoded(header)}.{encoded(signer.claims())}"
    mac = hmac.new(signer.app.identity.secret.encode(), head.encode(), hashlib.sha256).digest()
    with pytest.raises(Unauthorized):
        await world.identity.verify(f"{head}.{encoded(mac)}")


async def test_a_token_has_a_size(world: World, signer: Signer) -> None:
    await refused(world, signer.sign(name="x" * MAX_TOKEN_CHARS), "longer than 8192")
    assert (await world.identity.verify(signer.sign(name="x" * 4000))).name == "x" * 200


async def test_keys_rotate_with_overlap(world: World, signer: Signer) -> None:
    app_id = signer.app.app.app_id
    old = signer.sign()
    await world.apps.add_key(app_id, "k2", "HS256", "n" * 48)
    new = signer.sign(OctKey.import_key("n" * 48), header={"kid": "k2"})
    for token in (old, new):
        await world.identity.verify(token)
    await world.database.run("delete_app_key", app_id, "k1")
    world.clock.move(KEY_CACHE_S)
    await refused(world, old, "not signed with a key")
    await world.identity.verify(new)


async def test_a_key_that_was_removed_is_forgotten_in_ten_seconds(world: World, signer: Signer) -> None:
    token = signer.sign()
    await world.identity.verify(token)
    await world.database.run("delete_app_key", signer.app.app.app_id, "k1")
    world.clock.move(KEY_CACHE_S - 0.1)
    await world.identity.verify(token)
    world.clock.move(0.1)
    await refused(world, token, "not signed with a key")


async def test_a_key_that_is_new_is_known_at_once(world: World, signer: Signer) -> None:
    token = signer.sign(OctKey.import_key("n" * 48), header={"kid": "k2"})
    await refused(world, token, "not signed with a key")
    await world.apps.add_key(signer.app.app.app_id, "k2", "HS256", "n" * 48)
    await world.identity.verify(token)


async def test_tokens_issued_by_us_are_good(world: World, signer: Signer) -> None:
    app_id = signer.app.app.app_id
    token, expires_at = await world.identity.issue(app_id, "ada", timedelta(minutes=5))
    claims = await world.identity.verify(token)
    assert (claims.external_id, claims.expires_at) == ("ada", expires_at)
    assert expires_at == world.clock.now().replace(microsecond=0) + timedelta(minutes=5)
    world.clock.move(300)
    with pytest.raises(Expired):
        await world.identity.verify(token)


async def test_we_sign_with_the_newest_secret_we_hold(world: World, signer: Signer) -> None:
    app_id = signer.app.app.app_id
    world.clock.move(1)
    await world.apps.add_key(app_id, "a-newer", "HS256", "n" * 48)
    world.clock.move(1)
    await world.apps.add_key(app_id, "z-public", "EdDSA", public(ED25519))
    token, _ = await world.identity.issue(app_id, "ada")
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "==="))["kid"] == "a-newer"
    await world.identity.verify(token)


async def test_without_a_secret_we_cannot_sign(world: World, signer: Signer) -> None:
    await world.database.run("delete_app_key", signer.app.app.app_id, "k1")
    with pytest.raises(BadRequest, match="no HS256 key"):
        await world.identity.issue(signer.app.app.app_id, "ada")


async def test_another_secret_key_of_the_installation_is_said(database_url: str) -> None:
    async with running_services(database_url, secret_key="the first key, which is long enough") as world:
        signer = Signer(world, await world.app())
        token = signer.sign()
    async with running_services(database_url, secret_key="another key, which is long as well") as world:
        with pytest.raises(WrongKey, match="DESKBELL_SECRET_KEY"):
            await world.identity.verify(token)
