"""The parameters of an action: which JSON Schemas an app may give, and whether a press keeps to one.

A part of JSON Schema 2020-12 that needs nothing but itself and is quick whatever is checked: no references (nothing is
fetched), no patterns (a bad one takes for ever), no combinations. What is allowed is also what a form can be made of.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

import msgspec

from server.domain.bounds import check_open
from server.domain.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SCHEMA_BYTES = 16 * 1024
MAX_PARAMETERS_BYTES = 16 * 1024
MAX_DEPTH = 5
MAX_PROPERTIES = 50
"""In all of a schema."""
TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
WORDS = frozenset({"title", "description", "default", "examples", "format", "enum", "const", "type"})
BOUNDS = frozenset({
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
})  # fmt: skip
NESTING = frozenset({"properties", "required", "additionalProperties", "items"})
KEYWORDS = WORDS | BOUNDS | NESTING
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


_library: Any = None


async def load() -> None:
    """The library, at its first use and beside the loop: it takes a fifth of a second. Call this before the others."""
    global _library
    if _library is None:
        _library = await asyncio.to_thread(importlib.import_module, "jsonschema")


def check_schema(schema: dict[str, Any]) -> None:
    """Raises BadRequest or TooLarge, naming the place in the schema."""
    check_open(schema, "parameters")
    if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
        raise TooLarge(f"A schema has at most {MAX_SCHEMA_BYTES // 1024} KiB.", field="parameters")
    if schema.get("type") != "object":
        raise BadRequest('The schema of parameters must have `"type": "object"`.', field="parameters.type")
    properties = 0
    for path, part in _parts(schema, "parameters", 1):
        _check_part(part, path)
        properties += len(part.get("properties", ()))
    if properties > MAX_PROPERTIES:
        raise TooLarge(f"A schema has at most {MAX_PROPERTIES} properties.", field="parameters")
    try:
        _library.Draft202012Validator.check_schema(schema)
    except _library.SchemaError as problem:
        raise BadRequest(f"Not a JSON Schema: {problem.message[:300]}.", field="parameters") from None


def check_parameters(schema: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Raises BadRequest naming the parameter that is wrong."""
    check_open(parameters, "parameters")
    if len(msgspec.json.encode(parameters)) > MAX_PARAMETERS_BYTES:
        raise TooLarge(f"Parameters have at most {MAX_PARAMETERS_BYTES // 1024} KiB.", field="parameters")
    problems = _library.Draft202012Validator(schema).iter_errors(parameters)
    problem = min(problems, key=lambda each: [str(step) for step in each.path], default=None)
    if problem is not None:
        field = ".".join(["parameters", *map(str, problem.path)])
        raise BadRequest(f"`{field[:200]}`: {problem.message[:300]}.", field=field[:200])


def _parts(schema: Any, path: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schema and every one inside it."""
    if not isinstance(schema, dict):
        raise BadRequest("A schema is an object here.", field=path[:200])
    if depth > MAX_DEPTH:
        raise BadRequest(f"Schemas are nested at most {MAX_DEPTH} deep.", field=path[:200])
    yield path, schema
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise BadRequest("`properties` is an object.", field=f"{path}.properties"[:200])
    for name, inner in properties.items():
        yield from _parts(inner, f"{path}.properties.{name}", depth + 1)
    if "items" in schema:
        yield from _parts(schema["items"], f"{path}.items", depth + 1)


def _check_part(part: dict[str, Any], path: str) -> None:
    for keyword in part:
        if keyword not in KEYWORDS:
            raise BadRequest(
                f"`{keyword[:100]}` is not offered in schemas of parameters; there are: {', '.join(sorted(KEYWORDS))}.",
                field=f"{path}.{keyword}"[:200],
            )
    if part.get("type") not in TYPES:
        raise BadRequest(f"`type` is one of {', '.join(TYPES)}.", field=f"{path}.type"[:200])
    if not isinstance(part.get("additionalProperties", False), bool):
        raise BadRequest("`additionalProperties` is true or false.", field=f"{path}.additionalProperties"[:200])
