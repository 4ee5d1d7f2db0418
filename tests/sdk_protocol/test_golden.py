"""The golden corpus: frames by hand from docs/protocol.md, in both codecs. Other SDKs may use the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdk_protocol.codec import JSON, MSGPACK, Codec
from sdk_protocol.frames import DeskFrame, DeskServerFrame, UserFrame, UserServerFrame

CORPUS: dict[str, list[dict[str, str]]] = json.loads(
    Path(__file__).with_name("golden_frames.json").read_text(encoding="utf-8")
)
FRAMES = [(direction, frame) for direction, frames in CORPUS.items() for frame in frames]
NAMES = [f"{direction}-{index}-{json.loads(frame['json'])['t']}" for index, (direction, frame) in enumerate(FRAMES)]
UNIONS: dict[str, Any] = {
    "user": UserFrame,
    "desk": DeskFrame,
    "user_server": UserServerFrame,
    "desk_server": DeskServerFrame,
}


def decoder(codec: Codec, direction: str) -> Callable[[str | bytes], Any]:
    decode: Callable[[str | bytes], Any] = getattr(codec, f"decode_{direction}")
    return decode


@pytest.mark.parametrize(("direction", "frame"), FRAMES, ids=NAMES)
def test_both_codecs_decode_to_the_same_frame(direction: str, frame: dict[str, str]) -> None:
    from_json = decoder(JSON, direction)(frame["json"])
    assert from_json is not None
    assert from_json == decoder(MSGPACK, direction)(bytes.fromhex(frame["msgpack"]))


@pytest.mark.parametrize(("direction", "frame"), FRAMES, ids=NAMES)
def test_encoding_gives_the_corpus_back(direction: str, frame: dict[str, str]) -> None:
    decoded = decoder(JSON, direction)(frame["json"])
    text, binary = JSON.encode(decoded), MSGPACK.encode(decoded)
    assert isinstance(text, str)
    assert isinstance(binary, bytes)
    assert json.loads(text) == json.loads(frame["json"])
    assert msgspec.msgpack.decode(binary) == msgspec.msgpack.decode(bytes.fromhex(frame["msgpack"]))


@pytest.mark.parametrize("direction", UNIONS)
def test_every_frame_of_the_protocol_is_in_the_corpus(direction: str) -> None:
    tags = {frame.__struct_config__.tag for frame in UNIONS[direction].__args__}
    assert tags == {json.loads(frame["json"])["t"] for frame in CORPUS[direction]}
