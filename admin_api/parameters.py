"""Parameters in paths, queries and headers, checked like bodies: by a Struct, naming what is wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import parse_qsl, quote, unquote_to_bytes
from uuid import UUID

import msgspec

from server.domain.errors import BadRequest, NotFound
from server.domain.paging import MAX_LIMIT
from server.domain.people import MAX_EXTERNAL_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S", bound=msgspec.Struct)

MOST_PARAMETERS = 50
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_SAFE = "!$&'()*+,;=:@-._~"  # RFC 3986 §3.3: what a path segment may hold as it is

ExternalId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_EXTERNAL_ID,
        description="The app's own id of the user: printable characters.",
        # Near enough for a generator; `check_external_id` says exactly.
        extra_json_schema={"pattern": "^[^\\u0000-\\u001f\\u007f-\\u00a0\\u2028\\u2029]+$"},
    ),
]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT, description="Most items of a page.")]
Cursor = Annotated[
    str, msgspec.Meta(min_length=1, max_length=1000, description="`next_cursor` of the page before; opaque.")
]


class Parameters(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Base of what a path or a query may hold. Its fields are the names of the parameters."""


class Nothing(Parameters, kw_only=True, frozen=True):
    """No parameters."""


class Paging(Parameters, kw_only=True, frozen=True):
    cursor: Cursor | None = None
    limit: Limit = 50


def canonical_path(raw_path: bytes) -> str:
    """A path whose segments are percent-encoded in exactly one way, so that an encoded `/` stays inside its segment.

    Raises BadRequest for what is not UTF-8.
    """
    try:
        return "/".join(quote(_decoded(segment), safe=_SAFE) for segment in raw_path.decode("ascii").split("/"))
    except UnicodeDecodeError:
        raise BadRequest("The path must be percent-encoded UTF-8.") from None


def path_of(segments: Mapping[str, str], shape: type[S]) -> S:
    """Path parameters from canonical segments. An id that cannot be one names nothing: NotFound."""
    values = {name: _decoded(segment) for name, segment in segments.items()}
    for name, value in values.items():
        _refuse_nul(name, value)
    try:
        return msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        message, field = explain(error)
        if "UUID" in message:
            raise NotFound(f"There is no such {field}.", field=field) from None
        raise BadRequest(f"`{field}`: {message}.", field=field) from None


def query_of(query_string: bytes, shape: type[S]) -> S:
    """The query's parameters. Raises BadRequest for unknown, repeated and wrong ones."""
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )
    except UnicodeDecodeError:
        raise BadRequest("The query must be percent-encoded UTF-8.") from None
    except ValueError:
        raise BadRequest(f"The query has more than {MOST_PARAMETERS} parameters.") from None
    known = {field.name for field in msgspec.structs.fields(shape)}
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            names = ", ".join(f"`{each}`" for each in sorted(known)) or "none"
            raise BadRequest(f"Unknown query parameter `{name[:100]}`; this takes: {names}.", field=name[:100])
        if name in values:
            raise BadRequest(f"The query parameter `{name}` is given twice; give it once.", field=name)
        _refuse_nul(name, value)
        values[name] = value
    try:
        return msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        message, field = explain(error)
        raise BadRequest(f"`{field}`: {message}.", field=field) from None


def idempotency_key_of(given: list[str]) -> str | None:
    """The value of `Idempotency-Key` (http.md, "Common"): up to 255 visible ASCII characters, once."""
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise BadRequest(
            "`Idempotency-Key` must be given once, with 1 to 255 visible ASCII characters; a UUID is best.",
            field="Idempotency-Key",
        )
    return given[0]


def as_uuid(text: str, field: str) -> UUID:
    """An id inside a query or a body. Raises BadRequest."""
    try:
        return msgspec.convert(text, UUID)
    except msgspec.ValidationError:
        raise BadRequest(f"`{field}` must be a UUID.", field=field) from None


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """What msgspec says (``… - at `$.amount.value` ``) as a message and a field (``amount.value``)."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".").replace(".[...]", "").replace("[...]", "")
    named = re.search(r"(?:unknown|missing required) field `(.*)`$", message, re.DOTALL)
    if named:
        field = f"{field}.{named[1]}" if field else named[1]
    return message, field[:200]


def _decoded(segment: str) -> str:
    return unquote_to_bytes(segment).decode()


def _refuse_nul(name: str, value: str) -> None:
    if "\x00" in value:
        raise BadRequest(f"`{name}` must not contain the character U+0000.", field=name)
