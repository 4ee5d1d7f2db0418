"""`openapi.json`: valid, committed as it is, and true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from admin_api import openapi
from admin_api.bodies import message_body
from admin_api.errors import STATUS
from admin_api.examples import TEXT
from admin_api.openapi import PATH, document, errors_of, main
from admin_api.routes import OPERATIONS
from server.domain import errors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.admin_api.conftest import Site

DOCUMENT = document()
DECIDING = {"approve_action", "reject_action", "retry_action"}
"""Somebody else may have decided meanwhile."""
EXAMPLES = [
    (f"{method} {path} {place}", content["schema"], content["example"])
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    for place, part in [("request", operation.get("requestBody", {})), *operation["responses"].items()]
    for content in part.get("content", {}).values()
]


def test_it_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_the_committed_copy_is_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--check"]) == 0, "run python -m admin_api.openapi"
    monkeypatch.setattr(openapi, "PATH", tmp_path / "openapi.json")
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert (tmp_path / "openapi.json").read_bytes() == PATH.read_bytes()
    assert main(["--wat"]) == 2


def test_it_is_a_command() -> None:
    ran = subprocess.run([sys.executable, "-m", "admin_api.openapi", "--check"], cwd=PATH.parent, check=False)
    assert ran.returncode == 0


async def test_it_is_served(site: Site) -> None:
    answer = await site.client().get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == PATH.read_bytes()


def test_operations_have_names_of_their_own() -> None:
    names = [operation.id for operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert all(operation.summary and operation.tag in openapi._TAGS for operation in OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_path_parameters_are_those_of_the_path(operation: Any) -> None:
    assert set(re.findall(r"{(\w+)}", operation.path)) == set(operation.parameters.__struct_fields__)
    assert operation.body is None or operation.body_example is not None
    assert all(answered.example is not None for answered in operation.answers.values() if answered.shape is not None)
    conflicts = "409" in DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
    assert conflicts == (operation.creates or operation.id in DECIDING)


@pytest.mark.parametrize(("schema", "example"), [each[1:] for each in EXAMPLES], ids=[each[0] for each in EXAMPLES])
def test_examples_fit_their_schemas(schema: Any, example: Any) -> None:
    whole = json.loads(json.dumps(schema | {"components": DOCUMENT["components"]}))
    jsonschema.Draft202012Validator(whole).validate(example)


def test_every_refusal_has_a_status() -> None:
    def below(kind: type[errors.DomainError]) -> set[type[errors.DomainError]]:
        return {kind}.union(*(below(each) for each in kind.__subclasses__()))

    for kind in below(errors.DomainError) - {errors.DomainError}:
        assert any(base in STATUS for base in kind.__mro__), kind
    for status in {status for operation in OPERATIONS for status in errors_of(operation)}:
        assert DOCUMENT["components"]["responses"][str(status)]["description"]


def test_bodies_of_messages_are_as_strict_as_said() -> None:
    schema = {"$ref": "#/components/schemas/MessageBody", "components": DOCUMENT["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    for body in (TEXT, {"kind": "card", "title": "a", "buttons": [{"id": "1", "label": "b"}]}):
        validator.validate(body)
        message_body(msgspec.Raw(msgspec.json.encode(body)))
        more = body | {"more": 1}
        assert not validator.is_valid(more)
        with pytest.raises(errors.BadRequest):
            message_body(msgspec.Raw(msgspec.json.encode(more)))
