"""What a codec takes, what it refuses and how it says so."""

import json
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec import UNSET, Raw

from sdk_protocol.codec import JSON, MSGPACK, Codec, EncodedEvent, negotiate
from sdk_protocol.errors import BadFrame, ErrorCode, Malformed
from sdk_protocol.frames import Ack, Error, Event, Ok, Page, Ping, PushToken, Send, Snapshot, Transaction
from tests.sdk_protocol.samples import CONVERSATION, event, frame, hello, message_id, send

CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])


def wire(codec: Codec, value: Any) -> str | bytes:
    return msgspec.msgpack.encode(value) if codec.binary else json.dumps(value)


def refused(codec: Codec, data: str | bytes) -> BadFrame:
    with pytest.raises(BadFrame) as caught:
        codec.decode_user(data)
    return caught.value


def test_negotiation() -> None:
    assert negotiate([]) is JSON
    assert negotiate(["deskbell.v1.json"]) is JSON
    assert negotiate(["graphql-ws", "deskbell.v1.msgpack", "deskbell.v1.json"]) is MSGPACK
    assert negotiate(["graphql-ws"]) is None


@CODECS
def test_the_other_kind_of_websocket_message_breaks_the_protocol(codec: Codec) -> None:
    with pytest.raises(Malformed, match=r"travels in (text|binary) messages, this one is (text|binary)"):
        codec.decode_user(b"{}" if codec is JSON else "{}")


@CODECS
@pytest.mark.parametrize("value", [[], 1, None, "ping", {}, {"ref": 1}, {"t": 5}, {"t": None}, {"t": ["ping"]}])
def test_what_is_no_object_with_a_string_t_breaks_the_protocol(codec: Codec, value: Any) -> None:
    with pytest.raises(Malformed):
        codec.decode_user(wire(codec, value))
    with pytest.raises(Malformed):
        codec.decode_user_server(wire(codec, value))


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        '{"t":"ping"} x',
        '{"t":"ping","ref":NaN}',
        '{"t":"ping","x":"\0"}',
        '{"t":"ping","x":' + "[" * 30000 + "]" * 30000 + "}",
        '{"t":"ping","x":' + "[" * 30000 + '"\\u0000"' + "]" * 30000 + "}",
        '["\\ud800"]',
        '{"t":"ping", "x": "\\ud800"',
    ],
)
def test_broken_json_breaks_the_protocol(data: str) -> None:
    with pytest.raises(Malformed):
        JSON.decode_user(data)
    with pytest.raises(Malformed):
        JSON.decode_desk_server(data)


@pytest.mark.parametrize(
    "data", [b"", b"\x81", b"\xc1", b"\x81\xa1t\xa4ping\xc0", b"\x91" * 30000, b"\x81\xa1t\xa2\xff\xfe"]
)
def test_broken_messagepack_breaks_the_protocol(data: bytes) -> None:
    with pytest.raises(Malformed):
        MSGPACK.decode_user(data)
    with pytest.raises(Malformed):
        MSGPACK.decode_user_server(data)


@CODECS
def test_unknown_fields_are_ignored(codec: Codec) -> None:
    assert codec.decode_user(wire(codec, {"t": "ping", "new": {"deep": [1, "é", None, 0]}})) == Ping()


@CODECS
def test_an_unknown_t_is_answered_with_its_ref(codec: Codec) -> None:
    bad = refused(codec, wire(codec, {"t": "teleport", "ref": 7}))
    assert (bad.code, bad.field, bad.ref) == (ErrorCode.BAD_REQUEST, "t", 7)
    assert "'teleport'" in bad.message
    assert "push_token" in bad.message
    assert Error.of(bad) == Error(ref=7, code=ErrorCode.BAD_REQUEST, message=bad.message, retry=False, field="t")


def test_a_long_unknown_t_is_quoted_in_part() -> None:
    assert "x" * 41 not in refused(JSON, frame("x" * 1000)).message


@CODECS
def test_a_client_ignores_an_unknown_t(codec: Codec) -> None:
    assert codec.decode_user_server(wire(codec, {"t": "confetti", "ref": "?"})) is None
    assert codec.decode_desk_server(wire(codec, {"t": "confetti"})) is None


@CODECS
def test_a_known_frame_of_the_server_that_is_wrong_is_malformed(codec: Codec) -> None:
    with pytest.raises(Malformed, match="synced"):
        codec.decode_user_server(wire(codec, {"t": "synced", "usn": "x"}))


@CODECS
@pytest.mark.parametrize("ref", ["1", 1.5, True, None, 2**53, -(2**53), [1]])
def test_a_ref_that_is_none_is_not_echoed(codec: Codec, ref: Any) -> None:
    bad = refused(codec, wire(codec, {**json.loads(send()), "ref": ref}))
    assert (bad.code, bad.ref, bad.field) == (ErrorCode.BAD_REQUEST, None, "ref")
    assert Error.of(bad).ref is UNSET


def test_numbers_beyond_all_bounds_are_a_bad_field() -> None:
    for huge in ("1e400", "1" + "0" * 5000, "-1", "0.5"):
        bad = refused(JSON, f'{{"t":"ack","usn":{huge}}}')
        assert (bad.code, bad.field) == (ErrorCode.BAD_REQUEST, "usn")
    assert refused(JSON, '{"t":"send","ref":1e400}').ref is None


@pytest.mark.parametrize(
    ("data", "field", "words"),
    [
        (frame("send", ref=1), "conversation", "conversation is missing: add it"),
        (send(id="not-a-uuid"), "id", "id: invalid UUID"),
        (send(body={"kind": "card"}), "body.kind", "not one of those the protocol lists here"),
        (send(body={"kind": "attachment", "attachment": "a"}), "body.name", "body.name is missing: add it"),
        (frame("rate", ref=1, conversation=CONVERSATION, score=6), "score", "score: expected `int` <= 5"),
        (frame("history", ref=1, conversation=CONVERSATION, limit=201), "limit", "limit: expected `int` <= 200"),
        (frame("push_token", ref=1, provider="webpush", token="x"), "token", "subscription object"),
        (
            frame("push_token", ref=1, provider="fcm", token={"endpoint": "https://p.example", "keys": {}}),
            "token.keys",
            "",
        ),
        (
            frame(
                "push_token",
                ref=1,
                provider="fcm",
                token={"endpoint": "https://p", "keys": {"p256dh": "a", "auth": "b"}},
            ),
            "token",
            "the token of fcm is a string",
        ),
    ],
)
def test_a_bad_field_is_named_with_what_to_do(data: str, field: str, words: str) -> None:
    bad = refused(JSON, data)
    assert bad.code is ErrorCode.BAD_REQUEST
    assert bad.ref == 1
    assert bad.field is not None
    assert bad.field.startswith(field)
    assert words in bad.message


def test_a_push_token_may_be_removed_whatever_the_provider() -> None:
    for provider in ("fcm", "apns", "webpush"):
        removal = JSON.decode_user(frame("push_token", ref=1, provider=provider, token=None))
        assert isinstance(removal, PushToken)
        assert removal.token is None


@CODECS
def test_a_frame_of_64_kib_is_taken_and_one_byte_more_is_too_large(codec: Codec) -> None:
    base = {"t": "send", "ref": 9, "x": ""}
    room = 65536 - len(wire(codec, {**base, "x": "y" * 60000})) + 60000
    assert refused(codec, wire(codec, {**base, "x": "y" * room})).field == "conversation"
    bad = refused(codec, wire(codec, {**base, "x": "y" * (room + 1)}))
    assert (bad.code, bad.field, bad.ref) == (ErrorCode.TOO_LARGE, None, 9)
    assert "65537 bytes" in bad.message


def test_the_limit_counts_bytes_of_utf_8() -> None:
    assert refused(JSON, frame("ping", ref=2, x="é" * 32768)).code is ErrorCode.TOO_LARGE
    assert JSON.decode_user(frame("ping", x="é" * 32000)) == Ping()


def test_a_frame_that_is_too_large_and_broken_breaks_the_protocol() -> None:
    with pytest.raises(Malformed):
        JSON.decode_user("[" * 70000)


@CODECS
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"body": {"kind": "text", "text": "a\0b"}}, "body.text"),
        ({"unknown": [{"deep": "\0"}]}, "unknown[0].deep"),
        ({"unknown": {"a\0": 1}}, "unknown"),
        ({"a\0": 1}, "the name of a field"),
        ({"id": "\0"}, "id"),
    ],
)
def test_nul_is_refused_wherever_it_is(codec: Codec, fields: dict[str, Any], field: str) -> None:
    bad = refused(codec, wire(codec, {**json.loads(send()), **fields}))
    assert (bad.code, bad.field, bad.ref) == (ErrorCode.BAD_REQUEST, field, 1)
    assert "U+0000" in bad.message


@pytest.mark.parametrize("escape", ["\\ud800", "\\uD800", "\\udfff x"])
@pytest.mark.parametrize("field", ["body.text", "unknown"])
def test_a_lone_surrogate_in_json_is_refused_by_name(escape: str, field: str) -> None:
    data = send("@") if field == "body.text" else send(unknown="@")
    bad = refused(JSON, data.replace("@", escape))
    assert (bad.code, bad.field, bad.ref) == (ErrorCode.BAD_REQUEST, field, 1)
    assert "lone surrogate" in bad.message


def test_a_lone_surrogate_in_a_python_string_is_refused_by_name() -> None:
    assert refused(JSON, send("a\ud800")).field == "body.text"


@pytest.mark.parametrize("field", ["body.text", "unknown"])
def test_a_lone_surrogate_in_messagepack_is_refused_by_name(field: str) -> None:
    value = json.loads(send("@@@") if field == "body.text" else send(unknown=["ok", "@@@"]))
    bad = refused(MSGPACK, msgspec.msgpack.encode(value).replace(b"@@@", b"\xed\xa0\x80"))
    assert (bad.code, bad.ref) == (ErrorCode.BAD_REQUEST, 1)
    assert bad.field in (field, "unknown[1]")
    assert "lone surrogate" in bad.message


def test_bytes_that_only_look_like_a_surrogate_are_fine() -> None:
    value = {**json.loads(send("\uffff 한국어")), "number": 0xEDA080}
    decoded = MSGPACK.decode_user(msgspec.msgpack.encode(value))
    assert isinstance(decoded, Send)


def test_escaped_pairs_and_escapes_are_fine() -> None:
    decoded = JSON.decode_user(send("@").replace("@", "\\ud83d\\ude95 \\u00e9"))
    assert isinstance(decoded, Send)
    assert decoded.body.__struct_config__.tag == "text"


def test_unhashable_names_of_fields_break_the_protocol() -> None:
    with pytest.raises(Malformed):
        MSGPACK.decode_user(b"\x82\xa1t\xa4ping\x81\x01\x02\xa1\x00")


@CODECS
def test_a_binary_or_foreign_value_where_text_belongs_is_a_bad_field(codec: Codec) -> None:
    assert refused(codec, wire(codec, json.loads(hello(token=5)))).field == "token"


@CODECS
def test_the_desks_frames_are_not_the_users(codec: Codec) -> None:
    assert refused(codec, wire(codec, {"t": "watch", "ref": 1})).field == "t"
    with pytest.raises(BadFrame):
        codec.decode_desk(wire(codec, {"t": "ack", "usn": 1}))


def stored(body: bytes) -> Event:
    return event(1, body=Raw(body))


def test_a_stored_body_goes_out_verbatim_in_json_and_converted_in_messagepack() -> None:
    spaced = b'{"kind": "text",  "text":"\\u00e9"}'
    assert spaced.decode() in str(JSON.encode(stored(spaced)))
    plain = event(1, body={"kind": "text", "text": "é"})
    for codec in (JSON, MSGPACK):
        assert codec.decode_user_server(codec.encode(stored(spaced))) == plain
        assert codec.decode_user_server(codec.encode(plain)) == plain


@CODECS
def test_stored_bodies_inside_pages_and_conflicts_are_converted_too(codec: Codec) -> None:
    events = [stored(b'{"kind":"text","text":"a"}')]
    page = codec.decode_user_server(codec.encode(Page(ref=1, conversation=CONVERSATION, events=events, more=False)))
    assert isinstance(page, Page)
    assert page.events[0].body == {"kind": "text", "text": "a"}
    conflict = Error(ref=1, code=ErrorCode.CONFLICT, message="m", retry=False, events=events)
    error = codec.decode_desk_server(codec.encode(conflict))
    assert isinstance(error, Error)
    assert error.events == page.events
    simple = Error(code=ErrorCode.CONFLICT, message="m", retry=False)
    assert codec.decode_user_server(codec.encode(simple)) == simple


def test_numbers_messagepack_cannot_hold_become_floats_as_in_javascript() -> None:
    body = b'{"a": 1000000000000000000000000, "b": [-99999999999999999999, 18446744073709551615, "x"]}'
    decoded = MSGPACK.decode_user_server(MSGPACK.encode(stored(body)))
    assert isinstance(decoded, Event)
    assert decoded.body == {"a": 1e24, "b": [-1e20, 2**64 - 1, "x"]}
    ride = Transaction(id="r", version=1, attributes={"n": 10**30})
    snapshot = MSGPACK.decode_user_server(MSGPACK.encode(Snapshot(usn=1, conversations=[], transactions=[ride])))
    assert isinstance(snapshot, Snapshot)
    assert snapshot.transactions[0].attributes == {"n": 1e30}


def test_an_event_for_many_is_encoded_once_per_codec() -> None:
    encoded = EncodedEvent(stored(b'{"kind":"text","text":"\xc3\xa9"}'))
    assert encoded.frame(JSON) == JSON.encode(encoded.event)
    assert encoded.frame(JSON) is encoded.frame(JSON)
    assert encoded.frame(MSGPACK) == MSGPACK.encode(encoded.event)
    assert encoded.frame(MSGPACK) is encoded.frame(MSGPACK)
    assert encoded.size == len(str(encoded.frame(JSON)).encode())


def test_the_desk_sees_an_event_without_usn() -> None:
    seen = event(7, seq=3, id=message_id(1)).without_usn()
    assert seen == msgspec.structs.replace(event(7, seq=3, id=message_id(1)), usn=UNSET)
    assert "usn" not in json.loads(JSON.encode(seen))


def test_ids_may_come_in_upper_case_and_go_out_canonical() -> None:
    decoded = JSON.decode_user(send(id=str(message_id(10)).upper()))
    assert isinstance(decoded, Send)
    assert decoded.id == UUID(str(message_id(10)))
    assert JSON.encode(Ok(ref=1, conversation=CONVERSATION)) == f'{{"t":"ok","ref":1,"conversation":"{CONVERSATION}"}}'
    assert JSON.encode(Ack(usn=3)) == '{"t":"ack","usn":3}'
