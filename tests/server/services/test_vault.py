"""Secrets at rest."""

from __future__ import annotations

import pytest

from server.services.vault import Vault, WrongKey

KEY, OTHER = "a" * 32, "b" * 32


def test_what_is_sealed_can_be_opened_with_the_same_key() -> None:
    sealed = Vault(KEY).seal(b"secret")
    assert b"secret" not in sealed
    assert Vault(KEY).open(sealed) == b"secret"
    assert Vault(KEY).seal(b"secret") != sealed


@pytest.mark.parametrize("change", ["key", "bit", "length", "nothing of ours"])
def test_what_was_sealed_otherwise_names_the_setting_to_repair(change: str) -> None:
    sealed = Vault(OTHER if change == "key" else KEY).seal(b"secret")
    if change == "bit":
        sealed = sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:]
    elif change == "length":
        sealed = sealed[:-4]
    elif change == "nothing of ours":
        sealed = b"-----BEGIN PUBLIC KEY-----"
    with pytest.raises(WrongKey, match="DESKBELL_SECRET_KEY") as refused:
        Vault(KEY).open(sealed)
    assert refused.value.__cause__ is None, "the log need not show how"
