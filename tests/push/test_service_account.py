from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt

from push.service_account import GOOGLE_TOKEN_URI, SCOPE, ServiceAccount

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def fields() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "type": "service_account",
        "project_id": "kestrel",
        "private_key_id": "k1",
        "private_key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        "client_email": "push@kestrel.example",
        "token_uri": "https://token.example/t",
    }


def test_dict_text_and_file_are_the_same(fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    for form in (fields, json.dumps(fields), str(path), path):
        account = ServiceAccount.load(form)
        assert (account.project_id, account.client_email) == ("kestrel", "push@kestrel.example")
        assert (account.key_id, account.token_uri) == ("k1", "https://token.example/t")


def test_google_issues_the_tokens_unless_told_otherwise(fields: dict[str, Any]) -> None:
    fields = {name: text for name, text in fields.items() if name != "token_uri"}
    assert ServiceAccount.load(fields).token_uri == GOOGLE_TOKEN_URI


def test_the_assertion_is_what_google_asks_for(fields: dict[str, Any]) -> None:
    account = ServiceAccount.load(fields)
    token = jwt.decode(account.assertion(1000.9), account.private_key, algorithms=["RS256"])
    assert token.header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert token.claims == {
        "iss": "push@kestrel.example",
        "scope": SCOPE,
        "aud": "https://token.example/t",
        "iat": 1000,
        "exp": 4600,
    }


def test_a_key_without_id_is_signed_without_one(fields: dict[str, Any]) -> None:
    account = ServiceAccount.load({name: text for name, text in fields.items() if name != "private_key_id"})
    assert "kid" not in jwt.decode(account.assertion(0), account.private_key, algorithms=["RS256"]).header


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"type": "authorized_user"}, "'type'"),
        ({"project_id": ""}, "'project_id'"),
        ({"client_email": None}, "'client_email'"),
        ({"private_key": 5}, "'private_key'"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----"}, "'private_key'"),
        ({"token_uri": "token.example"}, "'token_uri'"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        ServiceAccount.load(fields | change)
    assert "nonsense" not in str(caught.value)


def test_a_public_key_cannot_sign(fields: dict[str, Any]) -> None:
    public = ServiceAccount.load(fields).private_key.as_pem(private=False).decode()
    with pytest.raises(ValueError, match="public key"):
        ServiceAccount.load(fields | {"private_key": public})


@pytest.mark.parametrize("text", ["{", '{"type": }'])
def test_text_that_is_not_json_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        ServiceAccount.load(text)


def test_a_file_with_something_else_in_it(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="must be an object"):
        ServiceAccount.load(path)
    with pytest.raises(FileNotFoundError):
        ServiceAccount.load(tmp_path / "absent.json")


def test_the_key_stays_out_of_logs(fields: dict[str, Any]) -> None:
    assert "private_key" not in repr(ServiceAccount.load(fields))
