"""Reading a request's body: bounded, JSON, checked against a Struct."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec

from admin_api.errors import UnsupportedMediaType
from admin_api.parameters import explain
from server.domain import message
from server.domain.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from starlette.requests import Request

    from server.domain.message import MessageBody

B = TypeVar("B", bound="Body")

# An escaped U+0000, not the six letters of one: an even number of backslashes stands before it. (A bare NUL is not
# JSON.) PostgreSQL cannot store it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MEDIA_TYPE = re.compile(r"application/json(?:\s*;\s*charset\s*=\s*\"?utf-?8\"?)?\s*;?", re.IGNORECASE)


class Body(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Base of what requests hold. `itemised`: its parts are checked one by one, later, so that each fails alone."""

    itemised: ClassVar[bool] = False


async def read_body(request: Request, limit: int) -> bytes:
    """The body, of at most `limit` bytes: reading stops there, whatever was announced. Raises TooLarge."""
    too_large = TooLarge(f"The body is larger than {limit} bytes; send less at a time.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)


def check_media_type(content_type: str | None) -> None:
    if content_type is None or not _MEDIA_TYPE.fullmatch(content_type.strip()):
        raise UnsupportedMediaType("Send the body as JSON, with `Content-Type: application/json`.")


def decode(raw: bytes, shape: type[B]) -> B:
    """The body as `shape`. Raises BadRequest naming the field."""
    if not raw:
        raise BadRequest("This needs a JSON body.")
    decoded: B = _decoded(raw, shape)
    if not shape.itemised and _NUL.search(raw):
        raise BadRequest("Text must not contain the character U+0000.", field=_where_nul(_decoded(raw, Any)))
    return decoded


def message_body(raw: msgspec.Raw) -> MessageBody:
    """A message's body from the field `body`, checked by the domain's own rules. Unknown fields are refused."""
    checked = message.parse(bytes(raw), "agent")
    given = _decoded(raw, Any)
    _refuse_unknown(given, _fields_of[checked.kind], "body")
    for name, shape in (("buttons", message.Button), ("options", message.Option)):
        known = {field.name for field in msgspec.structs.fields(shape)}
        for position, part in enumerate(given.get(name, ())):
            _refuse_unknown(part, known, f"body.{name}[{position}]")
    return checked


def _refuse_unknown(given: dict[str, Any], known: set[str], where: str) -> None:
    for name in sorted(given.keys() - known):
        raise BadRequest(f"Object contains unknown field `{name[:100]}`.", field=f"{where}.{name[:100]}")


_fields_of: dict[str, set[str]] = {
    str(kind.__struct_config__.tag): {"kind", *kind.__struct_fields__} for kind in message.AgentBody.__args__
}


def _decoded(raw: bytes | msgspec.Raw, shape: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError as error:
        reason, field = explain(error)
        raise BadRequest(f"`{field}`: {reason}." if field else f"{reason}.", field=field or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None


def _where_nul(body: Any) -> str | None:
    """The path of the first text with U+0000 in it, or of the object that has it in a name."""
    pending: list[tuple[str, Any]] = [("", body)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, str) and "\x00" in value:
            return path.lstrip(".")
        if isinstance(value, dict):
            if any("\x00" in name for name in value):
                return path.lstrip(".") or None
            pending += [(f"{path}.{name}", inner) for name, inner in reversed(value.items())]
        elif isinstance(value, list):
            pending += [(f"{path}[{position}]", inner) for position, inner in reversed(list(enumerate(value)))]
    return None
