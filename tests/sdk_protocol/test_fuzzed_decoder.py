"""Whatever arrives, a decoder raises `Malformed` or `BadFrame` and nothing else, and a refusal can itself be sent."""

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk_protocol.codec import JSON, MSGPACK, Codec
from sdk_protocol.errors import BadFrame, Malformed
from sdk_protocol.frames import Error, Frame

CORPUS = json.loads(Path(__file__).with_name("golden_frames.json").read_text(encoding="utf-8"))
TEXTS: list[str] = [frame["json"] for frames in CORPUS.values() for frame in frames]
BINARIES: list[bytes] = [bytes.fromhex(frame["msgpack"]) for frames in CORPUS.values() for frame in frames]
OBJECTS: list[dict[str, Any]] = [json.loads(words) for words in TEXTS]

examples = settings(max_examples=250, deadline=None, derandomize=True)

strange_text = st.text(st.characters(codec=None, categories=None), max_size=12) | st.sampled_from(
    ["", "\0", "\ud800", "a\udfffb", "💥" * 30, "x" * 300, "__proto__", "t", "ref"]
)
huge = st.sampled_from([2**53, -(2**63), 2**64, 10**30, 1e308, -0.0, 0, True])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | strange_text | huge
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strange_text, inner, max_size=3)
)


def decode_all(codec: Codec, data: str | bytes) -> None:
    """Both directions of both sockets."""
    for decode in (codec.decode_user, codec.decode_desk, codec.decode_user_server, codec.decode_desk_server):
        frame: Frame | None = None
        refusal: BadFrame | Malformed | None = None
        try:
            frame = decode(data)
        except (BadFrame, Malformed) as caught:
            refusal = caught
        if frame is not None:
            # What was accepted can be sent on, in either codec.
            JSON.encode(frame)
            MSGPACK.encode(frame)
        elif isinstance(refusal, BadFrame):
            assert decode in (codec.decode_user, codec.decode_desk)
            answer = Error.of(refusal)
            assert codec.decode_user_server(codec.encode(answer)) == answer
            assert refusal.message


@examples
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    decode_all(MSGPACK, data)
    decode_all(JSON, data)


@examples
@given(st.text(st.characters(codec=None, categories=None), max_size=200) | st.sampled_from(TEXTS))
def test_random_text(data: str) -> None:
    decode_all(JSON, data)
    decode_all(MSGPACK, data)


@examples
@given(
    st.sampled_from(OBJECTS),
    st.lists(st.tuples(st.integers(0, 50), strange_text | st.none(), values), min_size=1, max_size=3),
)
def test_frames_with_replaced_and_added_fields(
    valid: dict[str, Any], changes: list[tuple[int, str | None, Any]]
) -> None:
    changed = copy.deepcopy(valid)
    for index, name, value in changes:
        target = changed
        inner = [held for held in changed.values() if isinstance(held, dict) and held]
        if inner and index % 2:
            target = inner[index % len(inner)]
        target[list(target)[index % len(target)] if name is None else name] = value
    for ascii_only in (True, False):
        decode_all(JSON, json.dumps(changed, ensure_ascii=ascii_only))
    decode_all(MSGPACK, packed(changed))


@examples
@given(st.sampled_from(TEXTS), st.integers(0, 10**6), st.text(max_size=3), st.integers(0, 5))
def test_json_with_a_piece_cut_out_or_put_in(valid: str, at: int, piece: str, cut: int) -> None:
    at %= len(valid)
    decode_all(JSON, valid[:at] + piece + valid[at + cut :])


@examples
@given(
    st.sampled_from(BINARIES), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_messagepack_with_bytes_changed(valid: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(valid)
    for at, byte in changes:
        changed[at % len(changed)] = byte
    decode_all(MSGPACK, bytes(changed))


@examples
@given(st.sampled_from(OBJECTS), st.data())
def test_duplicate_keys(valid: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(valid)))
    value = json.dumps(data.draw(st.sampled_from([None, 1, "ping", "hello", [], {}, "\0", True, valid[name]])))
    words = json.dumps(valid)
    decode_all(JSON, words[:-1] + f", {json.dumps(name)}: {value}}}")
    decode_all(JSON, f"{{{json.dumps(name)}: {value}, " + words[1:])


def test_huge_strings_and_names_everywhere() -> None:
    for length in (17000, 60000, 66000, 300000):
        for huge in ("x" * length, "💥" * (length // 4), "\0" * length, "\ud800" * length):
            for valid in OBJECTS[:5]:
                for changed in (
                    {**valid, huge: 1},
                    {**valid, "body": {"kind": "text", "text": huge}},
                    {**valid, "t": huge},
                ):
                    decode_all(MSGPACK, packed(changed))


def test_deep_nesting_everywhere() -> None:
    for depth in (100, 900, 5000, 30000):
        nested = "[" * depth + "1" + "]" * depth
        for words in (
            nested,
            f'{{"t":{nested}}}',
            f'{{"t":"send","ref":{nested}}}',
            f'{{"t":"ping","x":{nested},"y":"\\u0000"}}',
        ):
            decode_all(JSON, words)
        packed_nest = b"\x91" * depth + b"\x01"
        for binary in (
            packed_nest,
            b"\x81\xa1t" + packed_nest,
            b"\x82\xa1t\xa4ping\xa1x" + packed_nest,
            b"\x81" * depth,
        ):
            decode_all(MSGPACK, binary)


def packed(value: Any) -> bytes:
    """MessagePack that may hold what a decent encoder refuses: surrogates as three bytes, integers cut to 64 bits."""
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return b"\xdb" + len(raw).to_bytes(4, "big") + raw
    if isinstance(value, dict):
        return b"\xdf" + len(value).to_bytes(4, "big") + b"".join(packed(k) + packed(v) for k, v in value.items())
    if isinstance(value, list):
        return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(packed, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return b"\xd3" + (value % 2**64).to_bytes(8, "big")
    return msgspec.msgpack.encode(value)
