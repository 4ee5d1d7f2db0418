"""`openapi.json`: OpenAPI 3.1 from the table of routes and the Structs behind it.

`python -m admin_api.openapi` writes the committed copy at the root, `--check` fails if it differs.
"""

from __future__ import annotations

import re
import sys
from copy import deepcopy
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from admin_api.auth import COOKIE, CSRF_HEADER
from admin_api.errors import STATUS, Problem, title_of
from admin_api.operations import Door, Operation
from admin_api.parameters import Nothing
from admin_api.routes import OPERATIONS
from admin_api.transactions import BatchItem
from server.domain.message import AgentBody

PATH = Path(__file__).parent.parent / "openapi.json"
REF = "#/components/schemas/{name}"
JSON = "application/json"
PROBLEM = "application/problem+json"

_CODES = {status: kind.code for kind, status in reversed(STATUS.items())}
_MEANINGS = {
    400: "The request is wrong; `field` says where.",
    401: "Nobody we know.",
    403: "Known, but not allowed: a CSRF token or a role is missing.",
    404: "There is no such thing, or it is not yours.",
    409: "`conflict`: somebody wrote meanwhile. `idempotency_conflict`: the same id was used for something else.",
    413: "Too much at once.",
    415: "The body does not say that it is JSON.",
    429: "Too many requests; see `Retry-After`.",
    503: "Not now; the same request may be sent again.",
}
_TAGS = {
    "users": "The app's server tells who its users are.",
    "transactions": "…and what they bought.",
    "messages": "…and writes to them first.",
    "webhooks": "…and wants to hear what happens.",
    "actions": "What agents do for customers at the app's server: it says what there is, they press it.",
    "sessions": "Agents log in to the console.",
    "conversations": "Agents read, answer and move conversations along.",
    "agents": "Who works for an app.",
    "health": "For machines.",
}


def document() -> dict[str, Any]:
    """The document as JSON-like values, a new one each time."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Deskbell HTTP API",
            "version": "1.0.0",
            "description": "The doors of the app's server (`/v1`) and of agents (`/admin/v1`). docs/http.md says what "
            "holds for all of them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _components(),
            "securitySchemes": {
                "server_key": {"type": "http", "scheme": "bearer", "description": "A server key, `dbs_…`."},
                "agent_token": {"type": "http", "scheme": "bearer", "description": "An agent's token, `dba_…`."},
                "console_session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "csrf_token": {"type": "apiKey", "in": "header", "name": CSRF_HEADER},
            },
            "responses": {str(status): _problem(status) for status in _MEANINGS},
            "headers": {
                "X-Request-Id": {
                    "description": "The id of this request in our log: the caller's own if it sent a sane one.",
                    "schema": {"type": "string"},
                },
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
                "Idempotent-Replayed": {
                    "description": "`true` when this is the answer to an earlier request with the same id or key.",
                    "schema": {"const": "true"},
                },
                "Set-Cookie": {"description": "The console session.", "schema": {"type": "string"}},
            },
        },
    }


def errors_of(operation: Operation) -> list[int]:
    """Every status of refusal that this operation can answer with."""
    statuses = {400, 503, *operation.errors}
    if operation.door is not Door.PUBLIC:
        statuses |= {401, 429}
    if operation.door is Door.AGENT and operation.method != "GET":
        statuses.add(403)
    if operation.parameters is not Nothing:
        statuses.add(404)
    if operation.body is not None:
        statuses |= {413, 415}
    return sorted(statuses - operation.answers.keys())


@cache
def rendered() -> bytes:
    """As it is committed and served: indented, one trailing newline."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n"


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": _security(operation),
    }
    if operation.description:
        described["description"] = operation.description
    parameters = [
        *_parameters(operation.parameters, "path"),
        *_parameters(operation.query, "query"),
        *([_IDEMPOTENCY_KEY] if operation.creates else []),
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": not operation.body_optional,
            "content": {JSON: {"schema": _schema(operation.body), "example": operation.body_example}},
        }
    responses: dict[str, Any] = {}
    for status, answered in operation.answers.items():
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *answered.headers)}
        responses[str(status)] = {"description": answered.description, "headers": headers}
        if answered.shape is not None:
            content = {"schema": _schema(answered.shape), "example": answered.example}
            responses[str(status)]["content"] = {answered.media_type: content}
    for status in errors_of(operation):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    described["responses"] = dict(sorted(responses.items()))
    return described


_IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key, the same answer, for good; with another body it is a 409. `id` in the body wins.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    match operation.door:
        case Door.PUBLIC:
            return []
        case Door.APP_SERVER:
            return [{"server_key": []}]
        case Door.AGENT if operation.method == "GET":
            return [{"agent_token": []}, {"console_session": []}]
        case Door.AGENT:
            return [{"agent_token": []}, {"console_session": [], "csrf_token": []}]


def _parameters(shape: type[msgspec.Struct], place: str) -> list[dict[str, Any]]:
    schema = msgspec.json.schema_components([shape], ref_template=REF)[1][shape.__name__]
    described = []
    for name, each in schema["properties"].items():
        plain = _without_null(each)
        required = name in schema.get("required", ())
        parameter = {"name": name, "in": place, "required": required, "schema": plain}
        if "description" in plain:
            parameter["description"] = plain.pop("description")
        described.append(parameter)
    return described


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or it is not; null is the Structs' way to say that it is not."""
    schema = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) == 1:
        schema = {name: value for name, value in schema.items() if name != "anyOf"} | choices[0]
    if None in schema.get("enum", ()):
        schema["enum"] = [each for each in schema["enum"] if each is not None]
    return schema


def _schema(shape: Any) -> dict[str, Any]:
    schema: dict[str, Any] = msgspec.json.schema_components([shape], ref_template=REF)[0][0]
    return schema


def _components() -> dict[str, Any]:
    shapes: list[Any] = [Problem, BatchItem]
    for operation in OPERATIONS:
        shapes += [answered.shape for answered in operation.answers.values() if answered.shape is not None]
        shapes += [operation.body] if operation.body is not None else []
    (body, *_), named = msgspec.json.schema_components([AgentBody, *shapes], ref_template=REF)
    # Tagged: exactly one can match, which is what `oneOf` says and `anyOf` does not.
    named["MessageBody"] = {
        "description": "What an agent, or the app's server, can send (protocol.md, Message bodies).",
        "oneOf": body["anyOf"],
        "discriminator": body["discriminator"],
    }
    named = deepcopy(named)
    for part in (*body["discriminator"]["mapping"].values(), REF.format(name="Button"), REF.format(name="Option")):
        # The sockets ignore unknown fields, these doors refuse them (`bodies.message_body`).
        named[part.rpartition("/")[2]]["additionalProperties"] = False
    for schema in named.values():
        if "description" in schema:
            schema["description"] = re.sub(r"\s*\n\s*", " ", cleandoc(schema["description"]))
    return dict(sorted(named.items()))


def _problem(status: int) -> dict[str, Any]:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    example: dict[str, Any] = {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "code": _CODES[status],
        "detail": _MEANINGS[status],
    }
    if status in (429, 503):
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
        example["retry_after"] = 1
    return {
        "description": _MEANINGS[status],
        "headers": headers,
        "content": {PROBLEM: {"schema": {"$ref": REF.format(name="Problem")}, "example": example}},
    }


def main(arguments: list[str]) -> int:
    """0: fine; 1: the committed copy differs; 2: wrong arguments."""
    if arguments == ["--check"]:
        if PATH.exists() and PATH.read_bytes() == rendered():
            return 0
        print("openapi.json is not what the routes say: run python -m admin_api.openapi", file=sys.stderr)
        return 1
    if arguments:
        print("usage: python -m admin_api.openapi [--check]", file=sys.stderr)
        return 2
    PATH.write_bytes(rendered())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
