"""What travels over Redis: the names of channels, and packets of hints.

A packet is the eight bytes of the bus that published it (so it knows its own when they come back), then a MessagePack
array of hints. Decoding has forms of its own for events: what a node of another version sends must not depend on how
this one happens to lay out its domain. A hint of a kind nobody here knows is passed over, its neighbours are not.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Union, get_args
from uuid import UUID

import msgspec
from redis.crc import key_slot

from server.bus.interface import Committed, Hint
from server.domain.events import Author, AuthorType, Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.bus.interface import Channel

PREFIX = "deskbell:2:"
"""The number changes when packets do: nodes of both versions then leave each other alone, and the sweep serves."""

ORIGIN_BYTES = 8


class _Event(msgspec.Struct, frozen=True, array_like=True):
    conversation_id: UUID
    seq: int
    usn: int | None
    kind: str
    author_type: AuthorType
    author_id: str
    author_name: str | None
    author_avatar: str | None
    client_id: UUID | None
    body: bytes
    at: datetime


class _Committed(msgspec.Struct, frozen=True, tag="committed"):
    app_id: UUID
    user_id: UUID
    events: tuple[_Event, ...]
    history: str


_kinds: Any = Union[(_Committed, *(kind for kind in get_args(Hint) if kind is not Committed))]
_encoder = msgspec.msgpack.Encoder(uuid_format="bytes")
_decoder: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(list[_kinds])
_one_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(_kinds)
_raw_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


def name_of(channel: Channel) -> bytes:
    """The name in Redis. What stands in braces alone decides the slot on a Redis Cluster: the user, the conversation,
    the app."""
    kind, *ids = channel
    return f"{PREFIX}{kind}:{{{':'.join(map(str, ids))}}}".encode()


def probe_name(origin: bytes, number: int) -> bytes:
    """A channel for one bus alone; another `number`, another slot."""
    return f"{PREFIX}probe:{{{origin.hex()}.{number}}}".encode()


def slot_of(name: bytes) -> int:
    """0 … 16383 (Redis Cluster specification, "Hash tags")."""
    return key_slot(name)


def encode(hint: Hint) -> bytes:
    """One hint. Raises what msgspec raises for a value that MessagePack cannot hold."""
    return _encoder.encode(_slim(hint) if isinstance(hint, Committed) else hint)


def pack(origin: bytes, hints: Sequence[bytes]) -> bytes:
    """Encoded hints of one channel, in order."""
    return b"".join((origin, b"\xdd", len(hints).to_bytes(4, "big"), *hints))


def unpack(packet: bytes) -> tuple[list[Hint], int]:
    """The hints of a packet and how many could not be read."""
    encoded = memoryview(packet)[ORIGIN_BYTES:]
    try:
        return [_full(hint) for hint in _decoder.decode(encoded)], 0
    except msgspec.MsgspecError:
        pass
    try:
        raws = _raw_decoder.decode(encoded)
    except msgspec.MsgspecError:
        return [], 1
    hints: list[Hint] = []
    for raw in raws:
        try:
            hints.append(_full(_one_decoder.decode(raw)))
        except msgspec.MsgspecError:
            continue
    return hints, len(raws) - len(hints)


def _slim(hint: Committed) -> _Committed:
    return _Committed(
        hint.app_id,
        hint.user_id,
        tuple(
            _Event(
                event.conversation_id,
                event.seq,
                event.usn,
                event.kind,
                event.author.type,
                event.author.id,
                event.author.name,
                event.author.avatar_url,
                event.client_id,
                event.body,
                event.at,
            )
            for event in hint.events
        ),
        hint.history,
    )


def _full(hint: Any) -> Hint:
    if not isinstance(hint, _Committed):
        known: Hint = hint
        return known
    return Committed(
        hint.app_id,
        hint.user_id,
        tuple(
            Event(
                app_id=hint.app_id,
                user_id=hint.user_id,
                conversation_id=event.conversation_id,
                seq=event.seq,
                usn=event.usn,
                kind=event.kind,
                author=Author(event.author_type, event.author_id, event.author_name, event.author_avatar),
                client_id=event.client_id,
                body=event.body,
                at=event.at,
            )
            for event in hint.events
        ),
        hint.history,
    )
