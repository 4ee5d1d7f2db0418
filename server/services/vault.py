"""What must be kept but not read: secrets at rest, encrypted with the installation's key.

Fernet (AES-128-CBC with HMAC-SHA256, from `cryptography`) under a key derived from `DESKBELL_SECRET_KEY`. A database
dump alone therefore gives nobody the power to sign tokens.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class WrongKey(Exception):
    """Something stored cannot be read with this secret key."""


class Vault:
    """Encrypts and decrypts with one installation's secret key (any string of 32 characters or more)."""

    def __init__(self, secret_key: str) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=b"deskbell vault 1").derive(secret_key.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, plain: bytes) -> bytes:
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """Raises WrongKey when it was sealed with another key."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise WrongKey(
                "A stored secret cannot be read: DESKBELL_SECRET_KEY is not the one it was stored with."
            ) from None
