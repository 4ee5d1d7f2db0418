"""The headers of Standard Webhooks (standardwebhooks.com), by its own library."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from server.config_values import Secret

PREFIX = "whsec_"
SECRET_BYTES = 32
"""The specification asks for 24 to 64."""


def new_secret() -> str:
    """A fresh signing secret, as its owner gets it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature_headers(message_id: str, at: datetime, body: bytes, signers: Iterable[Secret]) -> dict[str, str]:
    """One signature for each secret, in the order given: a receiver accepts a message when any of them is right."""
    text = body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(signer.reveal()).sign(message_id, at, text) for signer in signers),
    }
