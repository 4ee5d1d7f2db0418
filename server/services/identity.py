"""Who is this user? Verifies the JWTs that an app's own server signs (protocol.md, "Identity").

The key is found by the token's `aud` and `kid`; its algorithm is the one that was registered with the key, never the
one that the token names, so a public key cannot be used as an HMAC secret. Signatures are joserfc's work.
"""

from __future__ import annotations

import json
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from server.domain.errors import BadRequest, Unauthorized
from server.domain.identity import Claims, check_claims
from server.storage import apps

if TYPE_CHECKING:
    from server.clock import Clock
    from server.services.vault import Vault
    from server.storage.apps import AppKey
    from server.storage.database import Database

    Key = OctKey | RSAKey | ECKey | OKPKey

# RFC 9864 renames EdDSA to Ed25519; phones and servers in the field still say EdDSA, and so does protocol.md.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)

ACCEPTED = {"HS256": ["HS256"], "RS256": ["RS256"], "ES256": ["ES256"], "EdDSA": ["EdDSA", "Ed25519"]}
CURVES = {"ES256": "P-256", "EdDSA": "Ed25519"}
MIN_RSA_BITS = 2048
MAX_TOKEN_CHARS = 8192
KEY_CACHE_S = 10.0
MOST_CACHED = 10_000
DEFAULT_LIFETIME = timedelta(hours=1)


class Identity:
    """Verifies user tokens, and signs them for servers that have no JWT library."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._cache: dict[tuple[UUID, str], tuple[float, AppKey]] = {}

    async def verify(self, token: str) -> Claims:
        """The user behind `token`. Raises Unauthorized (Expired for one that was good) saying what is wrong."""
        header, claims = _peek(token)
        app_id, kid = _audience(claims), header.get("kid")
        if not isinstance(kid, str) or not 1 <= len(kid) <= 200 or "\x00" in kid:
            raise Unauthorized("The token's header needs a `kid`: the id of the key that signed it.", field="token")
        stored = await self._find_key(app_id, kid)
        if stored is None:
            raise _not_signed()
        if header.get("alg") not in ACCEPTED[stored.alg]:
            raise Unauthorized(f"This key signs with {stored.alg}; the token says otherwise.", field="token")
        try:
            decoded = jwt.decode(token, self._key(stored), algorithms=ACCEPTED[stored.alg])
        except (JoseError, ValueError):
            raise _not_signed() from None
        return check_claims(decoded.claims, app_id, self._clock.now())

    async def issue(self, app_id: UUID, external_id: str, lifetime: timedelta = DEFAULT_LIFETIME) -> tuple[str, Any]:
        """A token for a user, and when it expires. Raises BadRequest if the app has no HS256 key to sign with."""
        keys = [key for key in await apps.list_keys(self._database, app_id) if key.alg == "HS256"]
        if not keys:
            raise BadRequest("This app has no HS256 key of which we hold the secret; sign tokens on your server.")
        now = self._clock.now().replace(microsecond=0)
        claims = {
            "sub": external_id,
            "aud": str(app_id),
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        header = {"alg": "HS256", "typ": "JWT", "kid": keys[-1].kid}
        return jwt.encode(header, claims, self._key(keys[-1])), now + lifetime

    async def _find_key(self, app_id: UUID, kid: str) -> AppKey | None:
        now = self._clock.monotonic()
        cached = self._cache.get((app_id, kid))
        if cached is not None and cached[0] > now:
            return cached[1]
        found = await apps.find_key(self._database, app_id, kid)
        if found is not None:
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            self._cache[(app_id, kid)] = (now + KEY_CACHE_S, found)
        return found

    def _key(self, stored: AppKey) -> Key:
        match stored.alg:
            case "HS256":
                return OctKey.import_key(self._vault.open(stored.material))
            case "RS256":
                return RSAKey.import_key(stored.material)
            case "ES256":
                return ECKey.import_key(stored.material)
            case _:
                return OKPKey.import_key(stored.material)


def check_public_key(alg: str, pem: bytes) -> None:
    """Raises ValueError unless `pem` is a public key for `alg`."""
    kinds: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # what it warns of is refused below
            key = kinds[alg].import_key(pem)
    except (JoseError, ValueError, KeyError):
        raise ValueError(f"this is not a public key in PEM for {alg}") from None
    if key.is_private:
        raise ValueError("this is a private key; give us the public one only")
    # What would be taken here and then fail with every token, or be broken by a patient reader of tokens.
    if isinstance(key, RSAKey) and key.raw_value.key_size < MIN_RSA_BITS:
        raise ValueError(f"an RSA key must have at least {MIN_RSA_BITS} bits (RFC 7518, section 3.3)")
    curve = CURVES.get(alg)
    if isinstance(key, ECKey | OKPKey) and key.curve_name != curve:
        raise ValueError(f"a key for {alg} must be on the curve {curve}, not {key.curve_name}")


def _peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, unverified: only to find the key."""
    if len(token) > MAX_TOKEN_CHARS:
        raise Unauthorized(f"The token is longer than {MAX_TOKEN_CHARS} characters.", field="token")
    try:
        parts = jws.extract_compact(token.encode())
        claims = json.loads(parts.payload)
        header = parts.headers()
    except (JoseError, ValueError, RecursionError):
        raise Unauthorized("This is not a JWT.", field="token") from None
    if not isinstance(claims, dict):
        raise Unauthorized("The token's claims must be an object.", field="token")
    return header, claims


def _not_signed() -> Unauthorized:
    """The same for a key that does not exist and for one that did not sign: who asks learns nothing of other apps."""
    return Unauthorized(
        "The token is not signed with a key of its app: check `aud`, `kid` and the secret.", field="token"
    )


def _audience(claims: dict[str, Any]) -> UUID:
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    try:
        return UUID(audience)
    except (ValueError, AttributeError, TypeError):
        raise Unauthorized("The claim `aud` must be the app id.", field="token") from None
