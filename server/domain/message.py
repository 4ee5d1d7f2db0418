"""The bodies of messages (protocol.md, "Message bodies") and what each side may send.

`parse` is the one place where a body becomes a `MessageBody`; every door calls it. The JSON it keeps is written
anew from the validated fields, so nothing the sender added by the side is stored.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Literal

import msgspec

from server.domain.errors import BadRequest, TooLarge

MAX_TEXT_BYTES = 16 * 1024
PREVIEW_CHARS = 160

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
MediaType = Annotated[str, msgspec.Meta(min_length=1, max_length=127)]
Words = Annotated[str, msgspec.Meta(max_length=4000)]
# As on the wire (protocol.md): links into the app are welcome, what runs as code is not.
Url = Annotated[
    str,
    msgspec.Meta(max_length=2048, pattern=r"^(?!javascript:|data:|vbscript:)([a-z][a-z0-9+.-]*:|/)[^\s]*$(?!\n)"),
]
Long = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_BYTES)]


class Body(msgspec.Struct, tag_field="kind", kw_only=True, omit_defaults=True, forbid_unknown_fields=False):
    """Base of the message bodies; the tag is `kind`."""


class Text(Body, tag="text"):
    text: Long


class Attachment(Body, tag="attachment"):
    attachment: Id
    name: Short
    content_type: MediaType
    size: Annotated[int, msgspec.Meta(ge=0)]
    url: Url
    thumbnail_url: Url | None = None


class Button(msgspec.Struct, omit_defaults=True):
    id: Id
    label: Label
    url: Url | None = None
    reply: Words | None = None
    postback: Words | None = None


class Card(Body, tag="card"):
    title: Short
    buttons: Annotated[list[Button], msgspec.Meta(max_length=10)] = []
    text: Words | None = None
    image_url: Url | None = None


class Option(msgspec.Struct):
    id: Id
    label: Label


class Choices(Body, tag="choices"):
    text: Long
    options: Annotated[list[Option], msgspec.Meta(min_length=1, max_length=10)]


class Coupon(Body, tag="coupon"):
    code: Id
    description: Words
    amount: Annotated[str, msgspec.Meta(pattern=r"^-?\d{1,15}(\.\d{1,6})?$(?!\n)")] | None = None
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")] | None = None
    expires_at: str | None = None
    url: Url | None = None


class TransactionShared(Body, tag="transaction"):
    transaction: Id


UserBody = Text | Attachment | TransactionShared
AgentBody = Text | Attachment | Card | Choices | Coupon | TransactionShared

_user_decoder = msgspec.json.Decoder(UserBody)
_agent_decoder = msgspec.json.Decoder(AgentBody)
_encoder = msgspec.json.Encoder()
_MISSING = re.compile(r"missing required field `(\w+)`$")
# An escaped U+0000 in JSON, not the six letters of one: an even number of backslashes stands before it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class MessageBody(msgspec.Struct, frozen=True):
    """A checked body: its kind, its JSON, one line of it for lists and notifications, and its digest."""

    kind: str
    json: bytes
    preview: str
    digest: bytes
    transaction_id: str | None = None


def parse(source: bytes, sender: Literal["user", "agent"]) -> MessageBody:
    """Check the JSON `source` of a body that a user's device or the desk sends.

    Raises BadRequest or TooLarge, with `field` such as `body.text`.
    """
    decoder: msgspec.json.Decoder[Any] = _user_decoder if sender == "user" else _agent_decoder
    try:
        body = decoder.decode(source)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), sender) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("The body is not valid JSON.", field="body") from None
    return from_struct(body)


def from_struct(body: Body) -> MessageBody:
    """The same for a body that is already a checked structure of ours."""
    if isinstance(body, Text):
        return from_text(body.text)
    text = getattr(body, "text", None)
    if text is not None:
        _check_size(text)
    transaction = body.transaction if isinstance(body, TransactionShared) else None
    return _encoded(str(body.__struct_config__.tag), body, preview_of(body), transaction)


def from_text(text: str) -> MessageBody:
    """Of a message that is text, as nearly all of them are."""
    _check_size(text)
    if not text or text.isspace():
        raise BadRequest("The text is empty.", field="body.text")
    return _encoded("text", Text(text=text), _line(text), None)


def _check_size(text: str) -> None:
    if len(text) * 4 > MAX_TEXT_BYTES and len(text.encode()) > MAX_TEXT_BYTES:
        raise TooLarge("The text is longer than 16 KiB of UTF-8; send it in several messages.", field="body.text")


def _encoded(kind: str, body: Body, preview: str, transaction: str | None) -> MessageBody:
    encoded = _encoder.encode(body)
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise BadRequest("Text must not contain the character U+0000.", field="body")
    return MessageBody(kind, encoded, preview, hashlib.blake2b(encoded, digest_size=16).digest(), transaction)


def preview_of(body: Body) -> str:
    """One line that stands for the body in an inbox or a notification; '' where only the kind can be named."""
    match body:
        case Text(text=text) | Choices(text=text):
            line = text
        case Attachment(name=name):
            line = name
        case Card(title=title):
            line = title
        case Coupon(description=description):
            line = description
        case _:
            line = ""
    return _line(line)


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= PREVIEW_CHARS else line[: PREVIEW_CHARS - 1].rstrip() + "…"


def _refusal(reason: str, sender: str) -> BadRequest:
    """msgspec says where as ``… - at `$.text` ``; we say it as ``body.text``."""
    message, _, path = reason.partition(" - at `$")
    field = "body" + path.rstrip("`").replace("[...]", "")
    if missing := _MISSING.search(message):
        field = f"{field}.{missing[1]}"
    if "Invalid value" in message and field == "body.kind":
        kinds = UserBody if sender == "user" else AgentBody
        names = ", ".join(sorted(str(kind.__struct_config__.tag) for kind in kinds.__args__))
        return BadRequest(f"{message}. A {sender} may send: {names}.", field=field)
    if "length <=" in message and field == "body.text":
        return TooLarge("The text is longer than 16 KiB of UTF-8; send it in several messages.", field=field)
    return BadRequest(f"{message}.", field=field)
