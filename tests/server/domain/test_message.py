"""Message bodies: what each side may send, what is kept of it, and how a refusal names its field."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import BadRequest, TooLarge
from server.domain.message import (
    MAX_TEXT_BYTES,
    PREVIEW_CHARS,
    Attachment,
    Button,
    Card,
    Choices,
    Coupon,
    Option,
    Text,
    TransactionShared,
    from_struct,
    parse,
    preview_of,
)

Side = Literal["user", "agent"]

PICTURE = {
    "kind": "attachment",
    "attachment": "a1",
    "name": "ticket.png",
    "content_type": "image/png",
    "size": 3,
    "url": "/v1/attachments/a1",
}
SAMPLES: dict[str, dict[str, Any]] = {
    "text": {"kind": "text", "text": "hello"},
    "attachment": PICTURE,
    "transaction": {"kind": "transaction", "transaction": "ride-1"},
    "card": {
        "kind": "card",
        "title": "Your ride",
        "buttons": [{"id": "b", "label": "Call", "url": "https://example.com"}],
    },
    "choices": {"kind": "choices", "text": "Which one?", "options": [{"id": "o", "label": "The first"}]},
    "coupon": {"kind": "coupon", "code": "SORRY5", "description": "5 € off", "amount": "5.00", "currency": "EUR"},
}
OF_A_DEVICE = ("text", "attachment", "transaction")


def given_as(body: object, sender: Side = "agent") -> Any:
    return parse(json.dumps(body).encode(), sender)


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_desk_sends_every_kind(kind: str) -> None:
    body = given_as(SAMPLES[kind])
    assert body.kind == kind
    assert msgspec.json.decode(body.json) == SAMPLES[kind]


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_device_sends_three_kinds(kind: str) -> None:
    if kind in OF_A_DEVICE:
        assert given_as(SAMPLES[kind], "user").kind == kind
        return
    with pytest.raises(BadRequest, match="A user may send: attachment, text, transaction") as refused:
        given_as(SAMPLES[kind], "user")
    assert refused.value.field == "body.kind"


def test_an_unknown_kind_is_told_what_there_is() -> None:
    with pytest.raises(BadRequest, match="may send: attachment, card, choices, coupon, text, transaction") as refused:
        given_as({"kind": "poem", "text": "x"})
    assert refused.value.field == "body.kind"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "text"}, "body.text"),
        ({"kind": "text", "text": 5}, "body.text"),
        ({"kind": "text", "text": ""}, "body.text"),
        ({"kind": "text", "text": " \n\t"}, "body.text"),
        ({"text": "no kind"}, "body.kind"),
        ([], "body"),
        ("text", "body"),
        (None, "body"),
        (PICTURE | {"size": -1}, "body.size"),
        (PICTURE | {"url": "javascript:alert(1)"}, "body.url"),
        (PICTURE | {"url": "data:text/html,x"}, "body.url"),
        ({"kind": "card", "title": "t", "buttons": [{"id": "", "label": "x"}]}, "body.buttons[0].id"),
        (
            {"kind": "card", "title": "t", "buttons": [{"id": "b", "label": "x", "url": "javascript:alert(1)"}]},
            "body.buttons[0].url",
        ),
        ({"kind": "card", "title": "t", "buttons": [{"id": "b", "label": "x"}] * 11}, "body.buttons"),
        ({"kind": "choices", "text": "?", "options": []}, "body.options"),
        ({"kind": "coupon", "code": "c", "description": "d", "amount": "5,00"}, "body.amount"),
        ({"kind": "coupon", "code": "c", "description": "d", "currency": "eur"}, "body.currency"),
        ({"kind": "transaction", "transaction": "x" * 201}, "body.transaction"),
    ],
)
def test_a_refusal_names_the_field(body: object, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        given_as(body)
    assert refused.value.field == field
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize(
    "source", [b"", b"{", b"\xff", b'{"kind": "text", "text": "\xc3"}', b'{"kind":"text","x":' + b"[" * 100_000]
)
def test_what_is_not_json_is_said_to_be_no_json(source: bytes) -> None:
    with pytest.raises(BadRequest, match="not valid JSON") as refused:
        parse(source, "user")
    assert refused.value.field == "body"


def test_a_text_may_be_16_kib_of_utf8_and_no_byte_more() -> None:
    assert given_as({"kind": "text", "text": "x" * MAX_TEXT_BYTES}).kind == "text"
    assert given_as({"kind": "text", "text": "€" * (MAX_TEXT_BYTES // 3)}).kind == "text"
    for words in ("x" * (MAX_TEXT_BYTES + 1), "€" * (MAX_TEXT_BYTES // 3 + 1), "🚕" * (MAX_TEXT_BYTES // 4 + 1)):
        with pytest.raises(TooLarge, match="16 KiB") as refused:
            given_as({"kind": "text", "text": words}, "user")
        assert refused.value.field == "body.text"


def test_the_limit_holds_for_every_kind_with_a_text() -> None:
    for body in (
        {"kind": "choices", "text": "€" * 6000, "options": [{"id": "o", "label": "x"}]},
        {"kind": "card", "title": "t", "text": "€" * 6000},
    ):
        with pytest.raises(TooLarge):
            given_as(body)


def test_what_was_added_by_the_side_is_not_kept() -> None:
    body = given_as({"kind": "text", "text": "hello", "html": "<b>", "kind2": 1}, "user")
    assert msgspec.json.decode(body.json) == {"kind": "text", "text": "hello"}


def test_the_digest_is_of_what_is_kept() -> None:
    plain = parse(b'{"kind":"text","text":"hello"}', "user")
    assert plain.digest == parse(b' {"text" : "h\\u0065llo", "extra": 1, "kind":"text"} ', "agent").digest
    assert plain.digest != given_as({"kind": "text", "text": "hello!"}).digest
    assert len(plain.digest) == 16


@given(st.text(alphabet=["\x00", "\\", "u", "0", "x"], min_size=1, max_size=12))
def test_only_the_character_nul_is_refused_and_not_its_spelling(words: str) -> None:
    # PostgreSQL cannot hold U+0000 in text or jsonb; the six letters \u0000 are a text like any other.
    if "\x00" in words:
        with pytest.raises(BadRequest, match=r"U\+0000"):
            from_struct(Text(text=words))
    else:
        assert msgspec.json.decode(from_struct(Text(text=words)).json)["text"] == words


def test_nul_is_refused_wherever_it_stands() -> None:
    with pytest.raises(BadRequest, match=r"U\+0000"):
        given_as({"kind": "card", "title": "t", "buttons": [{"id": "b", "label": "x", "postback": "a\x00"}]})


def test_a_shared_transaction_is_known_by_its_id() -> None:
    assert given_as(SAMPLES["transaction"], "user").transaction_id == "ride-1"
    assert given_as(SAMPLES["text"], "user").transaction_id is None


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (Text(text="  two\n lines\t here "), "two lines here"),
        (Choices(text="Which?", options=[Option("o", "x")]), "Which?"),
        (Attachment(attachment="a", name="ticket.png", content_type="image/png", size=1, url="/a"), "ticket.png"),
        (Card(title="Your ride", buttons=[Button("b", "Call")]), "Your ride"),
        (Coupon(code="C", description="5 € off"), "5 € off"),
        (TransactionShared(transaction="ride-1"), ""),
        (Text(text="x" * PREVIEW_CHARS), "x" * PREVIEW_CHARS),
        (Text(text="x" * (PREVIEW_CHARS + 1)), "x" * (PREVIEW_CHARS - 1) + "…"),
        (Text(text="x" * (PREVIEW_CHARS - 2) + " yyy"), "x" * (PREVIEW_CHARS - 2) + "…"),
    ],
)
def test_the_preview_is_one_line(body: Any, line: str) -> None:
    assert preview_of(body) == line
    assert from_struct(body).preview == line


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    st.sampled_from(["user", "agent"]),
)
def test_whatever_comes_is_taken_or_refused(body: object, sender: Side) -> None:
    try:
        taken = parse(json.dumps(body).encode(), sender)
    except BadRequest as refused:
        where = refused.field or ""
    else:
        assert isinstance(body, dict)
        where = f"body is {taken.kind}"
        assert taken.kind == body["kind"]
    assert where.startswith("body")


@pytest.mark.parametrize("url", ["https://kestrel.example/r/1", "/v1/attachments/1", "kestrel://ride/7", "tel:+491234"])
def test_what_the_wire_takes_as_a_link_is_taken_here(url: str) -> None:
    """A desk may send a button that opens the app itself: both checks of a body must agree (protocol.md)."""
    card = {"kind": "card", "title": "Ride", "buttons": [{"id": "b", "label": "Open", "url": url}]}
    assert url.encode() in parse(msgspec.json.encode(card), "agent").json


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "JavaScript:x", "https://a b", "/a\n"]
)
def test_what_could_run_as_code_is_no_link(url: str) -> None:
    card = {"kind": "card", "title": "Ride", "buttons": [{"id": "b", "label": "Open", "url": url}]}
    with pytest.raises(BadRequest):
        parse(msgspec.json.encode(card), "agent")
