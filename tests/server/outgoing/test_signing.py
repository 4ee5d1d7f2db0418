"""What is signed is what a receiver verifies with the library of Standard Webhooks."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from server.config_values import Secret
from server.outgoing.signing import PREFIX, new_secret, signature_headers

BODY = '{"type":"ping","text":"grüß dich 🌂"}'.encode()


def test_a_secret_is_long_and_new() -> None:
    secret = new_secret()
    assert secret.startswith(PREFIX)
    assert len(base64.b64decode(secret.removeprefix(PREFIX))) == 32
    assert secret != new_secret()


def test_a_receiver_verifies_what_was_signed() -> None:
    secret = new_secret()
    headers = signature_headers("msg-1", datetime.now(UTC), BODY, [Secret(secret)])
    assert Webhook(secret).verify(BODY, headers)["type"] == "ping"
    for wrong in (BODY + b" ", BODY.replace(b"ping", b"pong")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(wrong, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, headers | {"webhook-id": "msg-2"})


def test_while_a_secret_is_replaced_both_verify() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    headers = signature_headers("msg-1", datetime.now(UTC), BODY, [Secret(new), Secret(old)])
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, headers)["type"] == "ping"
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(BODY, headers)
