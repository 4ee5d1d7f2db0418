"""The limits of message bodies, built directly and decoded inside a frame."""

from typing import Any

import pytest

from sdk_protocol.bodies import Text
from sdk_protocol.codec import JSON
from sdk_protocol.errors import BadFrame, ErrorCode, Refused
from sdk_protocol.frames import AgentBody, DeskSend
from tests.sdk_protocol.samples import CONVERSATION, frame, message_id

LINK = "https://kestrel.example/x"


def refusal(body: Any) -> BadFrame:
    with pytest.raises(BadFrame) as caught:
        decode(body)
    assert caught.value.ref == 1
    return caught.value


def decode(body: Any) -> AgentBody:
    decoded = JSON.decode_desk(frame("send", ref=1, conversation=CONVERSATION, id=message_id(1), body=body))
    assert isinstance(decoded, DeskSend)
    return decoded.body


@pytest.mark.parametrize("words", ["", " ", "\n\t\u2003"])
def test_blank_text_is_refused(words: str) -> None:
    bad = refusal({"kind": "text", "text": words})
    assert (bad.code, bad.field) == (ErrorCode.BAD_REQUEST, "body.text")
    assert "blank" in bad.message


@pytest.mark.parametrize("words", ["x" * 16384, "é" * 8192, "🚕" * 4096])
def test_text_of_exactly_16_kib_is_taken(words: str) -> None:
    assert decode({"kind": "text", "text": words}) == Text(text=words)


@pytest.mark.parametrize("words", ["x" * 16385, "é" * 8193, "🚕" * 4097])
def test_longer_text_is_too_large_in_bytes_not_characters(words: str) -> None:
    bad = refusal({"kind": "text", "text": words})
    assert (bad.code, bad.field) == (ErrorCode.TOO_LARGE, "body.text")
    assert "16384" in bad.message


def test_a_program_that_builds_a_body_gets_the_same_rules() -> None:
    with pytest.raises(Refused) as caught:
        Text(text="a\0b")
    assert (caught.value.code, caught.value.field) == (ErrorCode.BAD_REQUEST, "text")
    assert "U+0000" in str(caught.value)


def buttons(count: int) -> list[dict[str, str]]:
    return [{"id": str(number), "label": "press"} for number in range(count)]


def test_ten_buttons_are_taken_eleven_refused() -> None:
    decode({"kind": "card", "title": "T", "buttons": buttons(10)})
    assert refusal({"kind": "card", "title": "T", "buttons": buttons(11)}).field == "body.buttons"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "card", "title": "T", "buttons": buttons(1) * 2}, "body.buttons"),
        ({"kind": "card", "title": "", "buttons": []}, "body.title"),
        ({"kind": "card", "title": "T", "buttons": [{"id": "a", "label": "l", "url": LINK, "reply": "r"}]}, "url"),
        ({"kind": "choices", "text": " ", "options": buttons(1)}, "body.text"),
        ({"kind": "choices", "text": "?", "options": []}, "body.options"),
        ({"kind": "choices", "text": "?", "options": buttons(1) * 2}, "body.options"),
        ({"kind": "coupon", "code": "C", "description": "", "amount": "1.00"}, "body.currency"),
        ({"kind": "coupon", "code": "C", "description": "", "amount": "1e3", "currency": "EUR"}, "body.amount"),
        ({"kind": "coupon", "code": "C", "description": "", "amount": "1", "currency": "eur"}, "body.currency"),
        ({"kind": "coupon", "code": "C", "description": "", "expires_at": "tomorrow"}, "body.expires_at"),
        ({"kind": "transaction", "transaction": ""}, "body.transaction"),
        ({"kind": "attachment", "attachment": "a", "name": "n", "content_type": "x", "size": 1, "url": LINK}, "type"),
        (
            {"kind": "attachment", "attachment": "a", "name": "n", "content_type": "a/b", "size": -1, "url": "/a"},
            "size",
        ),
        ({"kind": "zip"}, "body.kind"),
        ({"text": "x"}, "body.kind"),
        ("text", "body"),
    ],
)
def test_other_rules_name_the_field(body: Any, field: str) -> None:
    bad = refusal(body)
    assert bad.code is ErrorCode.BAD_REQUEST
    assert bad.field is not None
    assert bad.field.endswith(field)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "JavaScript:x", "vbscript:x", "x y", "", " /a"]
)
def test_links_that_run_or_are_none_are_refused(url: str) -> None:
    assert refusal({"kind": "coupon", "code": "C", "description": "", "url": url}).field == "body.url"


@pytest.mark.parametrize("url", [LINK, "/v1/attachments/1", "kestrel://ride/7", "tel:+491234", "mailto:a@b.example"])
def test_links_of_the_web_and_of_apps_are_taken(url: str) -> None:
    decode({"kind": "coupon", "code": "C", "description": "", "url": url})
