"""Frames no well-behaved client sends, each with what protocol.md lets a server do about it. Seeded and repeatable."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from tests.end_to_end.rawsocket import JSON, Codec, Frame, fresh_id

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_FRAME = 64 * 1024
MAX_TEXT = 16 * 1024
LARGEST_SAFE = 2**53
# Frames that end a socket by their meaning, not by their form.
ENDING = {"hello", "logout"}
# Frames without an answer of their own; a `ref` in them is only an unknown field.
UNANSWERED = {"ack", "read", "typing", "foreground", "ping", "unwatch", "watch_inbox", "presence"}


class Verdict(Enum):
    KEPT = "an object with a tag: at worst an error, the socket stays"
    BROKEN = "no frame at all: the socket closes with 4400"
    EITHER = "the contract leaves it open: an error or a close"


@dataclass(frozen=True)
class Garbage:
    """``data`` goes out as it is: str as a text frame, bytes as a binary one. ``ref`` must be answered exactly once."""

    kind: str
    data: str | bytes
    verdict: Verdict
    ref: int | None = None


def judge(kind: str, data: str | bytes, codec: Codec) -> Garbage:
    """Decide from the bytes alone, with the standard library's JSON and a plain MessagePack decoder."""
    if isinstance(data, str) != (codec is JSON):
        return Garbage(kind, data, Verdict.BROKEN)
    if len(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")) > MAX_FRAME:
        return Garbage(kind, data, Verdict.EITHER)
    try:
        decoded = _decoded(data)
    except _Borderline:
        return Garbage(kind, data, Verdict.EITHER)
    except (RecursionError, UnicodeDecodeError):
        return Garbage(kind, data, Verdict.EITHER)
    except (ValueError, msgspec.DecodeError):
        return Garbage(kind, data, Verdict.BROKEN)
    if not isinstance(decoded, dict) or not isinstance(decoded.get("t"), str):
        return Garbage(kind, data, Verdict.EITHER if _borderline(decoded) else Verdict.BROKEN)
    if _borderline(decoded) or decoded["t"] in ENDING:
        return Garbage(kind, data, Verdict.EITHER)
    ref = decoded.get("ref")
    due = type(ref) is int and 0 <= ref < LARGEST_SAFE and decoded["t"] not in UNANSWERED
    return Garbage(kind, data, Verdict.KEPT, ref if due else None)


def _decoded(data: str | bytes) -> Any:
    return msgspec.msgpack.decode(data) if isinstance(data, bytes) else json.loads(data, parse_constant=_no_number)


class _Borderline(Exception):
    """Decoders disagree on it and the contract does not settle it."""


def _no_number(text: str) -> float:
    raise _Borderline(text)


def _borderline(value: Any, depth: int = 0) -> bool:
    """Values that JSON or MessagePack can say and a typed decoder may refuse as undecodable: NaN, huge numbers, lone
    surrogates, extension types, keys that are no strings, nesting beyond 100."""
    if depth > 100:
        return True
    if isinstance(value, dict):
        return any(not isinstance(key, str) or _borderline(key) for key in value) or any(
            _borderline(item, depth + 1) for item in value.values()
        )
    if isinstance(value, list | tuple):
        return any(_borderline(item, depth + 1) for item in value)
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return not math.isfinite(value) or abs(value) >= LARGEST_SAFE
    if isinstance(value, int):
        return abs(value) >= LARGEST_SAFE
    return not isinstance(value, bool | bytes | None)


class GarbageSource:
    """An endless, seeded supply for one socket. ``valid`` builds a correct frame of a random type, without ``ref``."""

    def __init__(self, seed: int, codec: Codec, valid: Callable[[random.Random], Frame]) -> None:
        self.random = random.Random(seed)
        self.codec = codec
        self.valid = valid
        self._refs = 0
        # Most of it keeps the socket: reconnecting is slow and tries less of the server.
        self._kinds: list[tuple[int, Callable[[], Garbage]]] = [
            (20, self._unknown_tag),
            (25, self._wrong_field),
            (12, self._missing_field),
            (8, self._nested),
            (6, self._nul),
            (3, self._long_text),
            (6, self._mutated),
            (1, self._random),
            (1, self._wrong_opcode),
            (1, self._oversize),
            (1, self._strange_number),
            (1, self._surrogate),
        ]

    def next(self) -> Garbage:
        weights = [weight for weight, _ in self._kinds]
        return self.random.choices([make for _, make in self._kinds], weights)[0]()

    def _frame(self) -> Frame:
        self._refs += 1
        return self.valid(self.random) | {"ref": self._refs}

    def _encoded(self, kind: str, frame: Frame) -> Garbage:
        return judge(kind, self.codec.encode(frame), self.codec)

    def _word(self) -> str:
        return "".join(self.random.choices("abcdefghijklmnopqrstuvwxyz._é☂", k=self.random.randint(1, 20)))

    def _odd_value(self) -> Any:
        return self.random.choice(
            [
                None,
                True,
                "",
                "x" * 5000,
                self._word(),
                -1,
                0,
                2**31,
                -(2**40),
                1.5,
                [],
                {},
                [1, 2, [3]],
                {"kind": "text"},
                {"kind": self._word(), "text": 5},
                {"text": "no kind"},
                fresh_id()[:-1],
                fresh_id().upper() + "\n",
                "🧨" * 300,
            ]
        )

    def _unknown_tag(self) -> Garbage:
        return self._encoded("unknown tag", self._frame() | {"t": self._word() + "!"})

    def _wrong_field(self) -> Garbage:
        frame = self._frame()
        frame[self.random.choice([key for key in frame if key not in ("t", "ref")])] = self._odd_value()
        if self.random.random() < 0.3:
            frame[self._word()] = self._odd_value()
        return self._encoded("wrong field", frame)

    def _missing_field(self) -> Garbage:
        frame = self._frame()
        del frame[self.random.choice([key for key in frame if key not in ("t", "ref")])]
        return self._encoded("missing field", frame)

    def _nested(self) -> Garbage:
        depth = self.random.choice([5, 50, 99, 900, 5000, 20000])
        frame = self._frame()
        if depth < 100:
            nested: Any = {}
            for _ in range(depth - 3):
                nested = [nested] if self.random.random() < 0.5 else {"body": nested}
            return self._encoded("nested", frame | {self.random.choice(["body", "extra"]): nested})
        text = f'{{"t":"send","body":{"[" * depth}{"]" * depth}}}'
        packed = b"\x82\xa1t\xa4send\xa4body" + b"\x91" * depth + b"\xc0"
        return Garbage("deeply nested", text if self.codec is JSON else packed, Verdict.EITHER)

    def _nul(self) -> Garbage:
        frame = self._frame()
        key = self.random.choice([key for key in frame if key not in ("t", "ref")])
        frame[key] = {"kind": "text", "text": "a\0b"} if key == "body" else "a\0b"
        return self._encoded("NUL", frame)

    def _long_text(self) -> Garbage:
        text = "é" * (MAX_TEXT // 2 + self.random.randint(1, 4000))
        return self._encoded("long text", self._frame() | {"body": {"kind": "text", "text": text}})

    def _mutated(self) -> Garbage:
        encoded = self.codec.encode(self._frame())
        units: list[Any] = list(encoded)
        alphabet: list[Any] = list('{}[]",:\\u0\x01é☂9-') if isinstance(encoded, str) else list(range(256))
        for _ in range(self.random.choice([1, 1, 2, 5])):
            place = self.random.randrange(len(units))
            what = self.random.random()
            if what < 0.4:
                units[place] = self.random.choice(alphabet)
            elif what < 0.7:
                units.insert(place, self.random.choice(alphabet))
            elif len(units) > 1:
                del units[place : place + self.random.randint(1, 4)]
        return judge("mutated", "".join(units) if isinstance(encoded, str) else bytes(units), self.codec)

    def _random(self) -> Garbage:
        length = self.random.choice([0, 1, 2, 20, 300])
        if self.codec is JSON:
            text = "".join(chr(self.random.choice([*range(1, 127), 0xE9, 0x2602, 0x1F9E8])) for _ in range(length))
            return judge("random", text, self.codec)
        return judge("random", self.random.randbytes(length), self.codec)

    def _wrong_opcode(self) -> Garbage:
        encoded = self.codec.encode(self._frame())
        swapped = encoded.encode() if isinstance(encoded, str) else '{"t":"ping"}'
        return Garbage("wrong opcode", swapped, Verdict.BROKEN)

    def _oversize(self) -> Garbage:
        text = "x" * self.random.choice([MAX_FRAME, MAX_FRAME + 1, 3 * MAX_FRAME])
        encoded = self.codec.encode(self._frame() | {"body": {"kind": "text", "text": text}})
        return Garbage("oversize", encoded, Verdict.EITHER)

    def _strange_number(self) -> Garbage:
        if self.codec is JSON:
            number = self.random.choice(
                ["NaN", "-Infinity", "1e999", "9" * 400, "-0", "1" + "0" * 30, "18446744073709551616"]
            )
            text = json.dumps(self._frame() | {"usn": 0, "seq": 0}).replace('"seq": 0', f'"seq": {number}')
            return Garbage("strange number", text, Verdict.EITHER)
        value = self.random.choice([math.nan, math.inf, -math.inf, 2**63, 2**64 - 1, -(2**63), 1e308])
        return Garbage("strange number", self.codec.encode(self._frame() | {"seq": value}), Verdict.EITHER)

    def _surrogate(self) -> Garbage:
        frame = self._frame()
        if self.codec is JSON:
            text = json.dumps(frame | {"topic": "\ud800", "body": {"kind": "text", "text": "\udfff!"}})
            return Garbage("lone surrogate", text, Verdict.EITHER)
        encoded = self.codec.encode(frame | {"topic": "SURROGATE"})
        if not isinstance(encoded, bytes):
            raise AssertionError("MessagePack is bytes")
        return Garbage(
            "invalid UTF-8 inside", encoded.replace(b"SURROGATE", b"\xed\xa0\x80\xff\xfe\xc3(\x80!"), Verdict.EITHER
        )
