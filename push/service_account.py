"""A Google service account, as the JSON file the Firebase console hands out. Read once, checked at start."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
"""All that sending needs. firebase-admin asks for storage, database and the whole platform as well."""
ASSERTION_SECONDS = 3600
"""Google refuses assertions that live longer than an hour (RFC 7523; "Using OAuth 2.0 for Server to Server")."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who sends, and where its access tokens come from."""

    project_id: str
    client_email: str
    key_id: str | None
    token_uri: str
    private_key: RSAKey = field(repr=False)

    @classmethod
    def load(cls, credentials: Mapping[str, Any] | str | Path) -> ServiceAccount:
        """From the parsed JSON, its text, or a path to the file.

        Raises ValueError naming the field that is missing or wrong, OSError if the file cannot be read.
        """
        fields = _parse(credentials)
        if fields.get("type") != "service_account":
            raise ValueError(
                f"FCM credentials: 'type' must be 'service_account', not {fields.get('type')!r}; "
                "take the JSON from the Firebase console, Project settings, Service accounts"
            )
        token_uri = _text(fields, "token_uri", GOOGLE_TOKEN_URI)
        if urlsplit(token_uri).scheme not in ("http", "https") or not urlsplit(token_uri).hostname:
            raise ValueError(f"FCM credentials: 'token_uri' must be an http(s) URL, not {token_uri!r}")
        try:
            private_key = RSAKey.import_key(_text(fields, "private_key"))
        except ValueError as error:
            # The cause is not repeated: it may quote the key.
            raise ValueError("FCM credentials: 'private_key' is not an RSA private key in PEM form") from error
        if not private_key.is_private:
            raise ValueError("FCM credentials: 'private_key' is a public key; the private one is needed to sign")
        return cls(
            project_id=_text(fields, "project_id"),
            client_email=_text(fields, "client_email"),
            key_id=fields.get("private_key_id"),
            token_uri=token_uri,
            private_key=private_key,
        )

    def assertion(self, now: float) -> str:
        """The signed JWT that is exchanged for an access token (RFC 7523 section 3), valid from `now`, Unix seconds."""
        header = {"alg": "RS256", "typ": "JWT"} | ({"kid": self.key_id} if self.key_id else {})
        claims = {
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": int(now),
            "exp": int(now) + ASSERTION_SECONDS,
        }
        return jwt.encode(header, claims, self.private_key, algorithms=["RS256"])


def _parse(credentials: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if isinstance(credentials, str | Path):
        text = str(credentials)
        if not text.lstrip().startswith("{"):
            text = Path(text).read_text(encoding="utf-8")
        try:
            credentials = json.loads(text)
        except ValueError as error:
            raise ValueError(f"FCM credentials: not JSON ({type(error).__name__})") from None
        if not isinstance(credentials, dict):
            raise ValueError("FCM credentials: the JSON must be an object")
    return credentials


def _text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    found = fields.get(name, default)
    if not isinstance(found, str) or not found:
        raise ValueError(f"FCM credentials: {name!r} is missing or not a string; take a fresh service-account JSON")
    return found
