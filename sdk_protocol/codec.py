"""Frames to and from the wire: `deskbell.v1.json` (text) and `deskbell.v1.msgpack` (binary).

Decoding raises only `Malformed` (close 4400) and `BadFrame` (answer `error`, keep the socket), whatever the bytes are.
The way of a good frame is one typed decode; everything else here words a refusal.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from sdk_protocol.errors import BadFrame, ErrorCode, Malformed, Refused
from sdk_protocol.fields import FRAME_BYTES, MAX_INTEGER
from sdk_protocol.frames import DeskFrame, DeskServerFrame, Error, Event, Frame, Page, UserFrame, UserServerFrame
from sdk_protocol.refusal import explain, forbidden_character, printable

F = TypeVar("F")


class _Head(NamedTuple):
    t: str
    ref: int | None


class _RawHead(Struct):
    """What every frame has, read when the typed decode failed. Undecoded: the values may be anything."""

    t: Raw = Raw()
    ref: Raw = Raw()


class _Direction(Generic[F]):
    """The two decoders of one direction, and the tags it knows."""

    __slots__ = ("json", "msgpack", "tags")

    def __init__(self, union: Any) -> None:
        self.json: msgspec.json.Decoder[F] = msgspec.json.Decoder(union)
        self.msgpack: msgspec.msgpack.Decoder[F] = msgspec.msgpack.Decoder(union)
        self.tags: frozenset[str] = frozenset(frame.__struct_config__.tag for frame in union.__args__)


_USER: _Direction[UserFrame] = _Direction(UserFrame)
_DESK: _Direction[DeskFrame] = _Direction(DeskFrame)
_USER_SERVER: _Direction[UserServerFrame] = _Direction(UserServerFrame)
_DESK_SERVER: _Direction[DeskServerFrame] = _Direction(DeskServerFrame)
_JSON_HEAD = msgspec.json.Decoder(_RawHead)
_MSGPACK_HEAD = msgspec.msgpack.Decoder(_RawHead)
_ENCODE_JSON = msgspec.json.Encoder().encode
_ENCODE_MSGPACK = msgspec.msgpack.Encoder().encode
# What a decoder may raise besides its own errors: invalid UTF-8, lone surrogates, too deep nesting.
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
# Surrogates as UTF-8 would spell them, and noncharacters of the same length to decode in their place.
_SURROGATE_BYTES = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_MARKERS = ("\uffff", "\ufffe", *map(chr, range(0xFDD0, 0xFDF0)))


class Codec(ABC):
    """One subprotocol. There are two instances, `JSON` and `MSGPACK`; both are stateless and may be shared."""

    __slots__ = ()
    subprotocol: str
    """The name offered in `Sec-WebSocket-Protocol`."""
    binary: bool
    """True if frames travel as binary WebSocket messages."""

    def decode_user(self, frame: str | bytes) -> UserFrame:
        """A frame from a user's device. Raises `Malformed`, `BadFrame`."""
        return self._decode_client(frame, _USER)

    def decode_desk(self, frame: str | bytes) -> DeskFrame:
        """A frame from an agent's desk. Raises `Malformed`, `BadFrame`."""
        return self._decode_client(frame, _DESK)

    def decode_user_server(self, frame: str | bytes) -> UserServerFrame | None:
        """A frame from the server to a device; None for an unknown `t`, which a client ignores. Raises `Malformed`."""
        return self._decode_server(frame, _USER_SERVER)

    def decode_desk_server(self, frame: str | bytes) -> DeskServerFrame | None:
        """A frame from the server to a desk; None for an unknown `t`. Raises `Malformed`."""
        return self._decode_server(frame, _DESK_SERVER)

    @abstractmethod
    def encode(self, frame: Frame) -> str | bytes:
        """The frame as it goes into one WebSocket message: str for JSON, bytes for MessagePack."""

    @abstractmethod
    def _typed(self, frame: Any, direction: _Direction[F]) -> F: ...

    @abstractmethod
    def _value(self, raw: Raw) -> Any: ...

    @abstractmethod
    def _raw_head(self, frame: Any) -> _RawHead: ...

    @abstractmethod
    def _suspicious(self, frame: Any) -> bool:
        """Cheap, and wrong in one direction only: False means no string in the frame holds U+0000 or a surrogate."""

    @abstractmethod
    def _loose(self, frame: Any) -> tuple[Any, str | None]:
        """Plain objects in which lone surrogates survive, and the marker that stands for them if they could not."""

    def _decode_client(self, frame: str | bytes, direction: _Direction[F]) -> F:
        self._check_opcode(frame)
        if len(frame) * 4 > FRAME_BYTES:
            self._check_size(frame)
        try:
            decoded = self._typed(frame, direction)
        except msgspec.ValidationError as invalid:
            head = self._head(frame)
            self._refuse_characters(frame)
            raise _bad_frame(invalid, head, direction.tags) from invalid
        except _UNREADABLE as unreadable:
            self._refuse_characters(frame)
            raise Malformed(f"not a frame: {_reason(unreadable)}") from unreadable
        if self._suspicious(frame):
            self._refuse_characters(frame)
        return decoded

    def _decode_server(self, frame: str | bytes, direction: _Direction[F]) -> F | None:
        self._check_opcode(frame)
        try:
            return self._typed(frame, direction)
        except msgspec.ValidationError as invalid:
            head = self._head(frame)
            if head.t not in direction.tags:
                return None
            raise Malformed(f"the server's `{head.t}` cannot be understood: {invalid}") from invalid
        except _UNREADABLE as unreadable:
            raise Malformed(f"not a frame: {_reason(unreadable)}") from unreadable

    def _check_opcode(self, frame: str | bytes) -> None:
        if isinstance(frame, str) is self.binary:
            raise Malformed(
                f"{self.subprotocol} travels in {'binary' if self.binary else 'text'} messages, "
                f"this one is {'text' if self.binary else 'binary'}"
            )

    def _check_size(self, frame: str | bytes) -> None:
        size = len(frame.encode("utf-8", "surrogatepass")) if isinstance(frame, str) else len(frame)
        if size > FRAME_BYTES:
            message = f"the frame has {size} bytes, at most {FRAME_BYTES} are allowed: send large things as attachments"
            raise BadFrame(ErrorCode.TOO_LARGE, message, ref=self._head(frame).ref)

    def _head(self, frame: str | bytes) -> _Head:
        try:
            head = self._raw_head(frame)
            tag = self._value(head.t)
        except _UNREADABLE as unreadable:
            raise Malformed(f"a frame is an object with a tag `t`: {_reason(unreadable)}") from unreadable
        if not isinstance(tag, str):
            raise Malformed(f"the tag `t` is a string, this one is {type(tag).__name__}")
        try:
            return _Head(tag, _as_ref(self._value(head.ref)))
        except _UNREADABLE:
            return _Head(tag, None)

    def _refuse_characters(self, frame: str | bytes) -> None:
        """Raise `BadFrame` if a string, of a known field or not, holds what PostgreSQL or UTF-8 cannot."""
        try:
            loose, marker = self._loose(frame)
        except (*_UNREADABLE, ValueError, TypeError):
            return
        found = forbidden_character(loose, marker)
        if found is not None and isinstance(loose, dict) and isinstance(loose.get("t"), str):
            field, what = found
            message = f"{field} contains {what}, which cannot be stored: remove it"
            raise BadFrame(ErrorCode.BAD_REQUEST, message, field, _as_ref(loose.get("ref")))


class _JsonCodec(Codec):
    __slots__ = ()
    subprotocol = "deskbell.v1.json"
    binary = False

    def encode(self, frame: Frame) -> str:
        return _ENCODE_JSON(frame).decode()

    def _typed(self, frame: Any, direction: _Direction[F]) -> F:
        return direction.json.decode(frame)

    def _value(self, raw: Raw) -> Any:
        return msgspec.json.decode(raw)

    def _raw_head(self, frame: Any) -> _RawHead:
        return _JSON_HEAD.decode(frame)

    def _suspicious(self, frame: Any) -> bool:
        # Unescaped, JSON forbids the first and UTF-8 the second.
        return "\\u" in frame and ("\\u0000" in frame or "\\ud" in frame or "\\uD" in frame)

    def _loose(self, frame: Any) -> tuple[Any, str | None]:
        return json.loads(frame), None


class _MsgpackCodec(Codec):
    __slots__ = ()
    subprotocol = "deskbell.v1.msgpack"
    binary = True

    def encode(self, frame: Frame) -> bytes:
        if isinstance(frame, Event):
            frame = _decoded(frame)
        elif isinstance(frame, Page | Error) and frame.events is not UNSET:
            frame = msgspec.structs.replace(frame, events=[_decoded(event) for event in frame.events])
        try:
            return _ENCODE_MSGPACK(frame)
        except OverflowError:
            # An app's attributes may hold any JSON number, MessagePack ends at 64 bits; JavaScript reads a float, too.
            return _ENCODE_MSGPACK(_within_64_bits(msgspec.json.decode(_ENCODE_JSON(frame))))

    def _typed(self, frame: Any, direction: _Direction[F]) -> F:
        return direction.msgpack.decode(frame)

    def _value(self, raw: Raw) -> Any:
        return msgspec.msgpack.decode(raw)

    def _raw_head(self, frame: Any) -> _RawHead:
        return _MSGPACK_HEAD.decode(frame)

    def _suspicious(self, frame: Any) -> bool:
        return 0 in frame or (b"\xed" in frame and _SURROGATE_BYTES.search(frame) is not None)

    def _loose(self, frame: Any) -> tuple[Any, str | None]:
        # One the frame does not use itself; whoever uses all 34 gets an answer that names the wrong character.
        marker = next((mark for mark in _MARKERS if mark.encode() not in frame), _MARKERS[-1])
        marked, lone = _SURROGATE_BYTES.subn(marker.encode(), frame)
        return msgspec.msgpack.decode(marked), marker if lone else None


JSON: Codec = _JsonCodec()
MSGPACK: Codec = _MsgpackCodec()


def negotiate(offered: Sequence[str]) -> Codec | None:
    """The codec for a handshake that offered these subprotocols, the client's first choice first.

    None offered: JSON, and you must answer without a subprotocol. None: only unknown ones, refuse with HTTP 400.
    """
    if not offered:
        return JSON
    for name in offered:
        for codec in (JSON, MSGPACK):
            if name == codec.subprotocol:
                return codec
    return None


class EncodedEvent:
    """An event that goes to many sockets: encoded at most once per codec."""

    __slots__ = ("_msgpack", "_text", "event", "size")

    def __init__(self, event: Event) -> None:
        encoded = _ENCODE_JSON(event)
        self.event = event
        self.size = len(encoded)
        """Bytes it is counted with against a reader's budget (S6): those of the JSON frame, in either codec."""
        self._text = encoded.decode()
        self._msgpack: str | bytes | None = None

    def frame(self, codec: Codec) -> str | bytes:
        """What to put into the WebSocket message: str for JSON, bytes for MessagePack."""
        if not codec.binary:
            return self._text
        if self._msgpack is None:
            self._msgpack = MSGPACK.encode(self.event)
        return self._msgpack


def _decoded(event: Event) -> Event:
    if isinstance(event.body, Raw):
        return msgspec.structs.replace(event, body=msgspec.json.decode(event.body))
    return event


def _within_64_bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _within_64_bits(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_within_64_bits(inner) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    return value


def _as_ref(value: Any) -> int | None:
    return value if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER else None


def _bad_frame(invalid: msgspec.ValidationError, head: _Head, tags: frozenset[str]) -> BadFrame:
    if head.t not in tags:
        known = ", ".join(sorted(tags))
        return BadFrame(ErrorCode.BAD_REQUEST, f"unknown t {printable(head.t)}: this side takes {known}", "t", head.ref)
    message, field = explain(invalid)
    refused = invalid.__cause__
    if isinstance(refused, Refused):
        path = f"{field}.{refused.field}" if field else refused.field
        return BadFrame(refused.code, refused.message, path, head.ref)
    return BadFrame(ErrorCode.BAD_REQUEST, message, field, head.ref)


def _reason(unreadable: Exception) -> str:
    if isinstance(unreadable, UnicodeError):
        return "its text is not UTF-8"
    if isinstance(unreadable, RecursionError):
        return "it is nested too deeply"
    return str(unreadable)
