"""C2 and S3 on the device: what is sent again, in which order, and when it is forgotten."""

from uuid import UUID

import pytest
from msgspec import UNSET

from sdk_protocol.errors import ErrorCode, WrongState
from sdk_protocol.frames import Author, Error, Event, Ok, Open, OpeningMessage, Send
from sdk_protocol.outbox import WINDOW, Entry, Outbox, key_of, numbered
from tests.sdk_protocol.samples import CONVERSATION, OTHER, event, message_id, text

MINE = Author(type="user", id="u1")


def message(number: int, conversation: UUID = CONVERSATION) -> Send:
    return Send(ref=0, conversation=conversation, id=message_id(number), body=text())


def opening(number: int | None = None) -> Open:
    first = UNSET if number is None else OpeningMessage(id=message_id(number), body=text())
    return Open(ref=0, conversation=CONVERSATION, message=first)


def send_all(outbox: Outbox) -> list[tuple[Entry, UUID | None]]:
    sent = []
    for entry, after in outbox.due():
        entry.under_way = True
        sent.append((entry, after))
    return sent


def test_keys() -> None:
    assert key_of(message(1)) == message_id(1)
    assert key_of(opening()) == CONVERSATION
    assert key_of(opening(1)) == message_id(1)


def test_messages_are_chained_within_their_conversation() -> None:
    outbox = Outbox([opening(), message(1), message(2, OTHER), message(3)])
    sent = send_all(outbox)
    assert [(entry.key, after) for entry, after in sent] == [
        (CONVERSATION, None),
        (message_id(1), None),
        (message_id(2), None),
        (message_id(3), message_id(1)),
    ]
    assert send_all(outbox) == []


def test_the_message_of_an_open_is_the_first_of_the_chain() -> None:
    assert [after for _, after in send_all(Outbox([opening(1), message(2)]))] == [None, message_id(1)]


def test_what_is_accepted_is_no_longer_chained_to() -> None:
    outbox = Outbox([message(1)])
    ((first, _),) = send_all(outbox)
    outbox.accept(first, Ok(ref=1, usn=5))
    outbox.add(message(2))
    ((second, after),) = send_all(outbox)
    assert (second.key, after) == (message_id(2), None)


def test_only_a_window_is_under_way() -> None:
    outbox = Outbox([message(number) for number in range(WINDOW + 5)])
    sent = send_all(outbox)
    assert len(sent) == WINDOW
    outbox.accept(sent[0][0], Ok(ref=1))
    assert [(entry.key, after) for entry, after in send_all(outbox)] == [(message_id(WINDOW), message_id(WINDOW - 1))]


def test_the_same_message_twice_is_one() -> None:
    outbox = Outbox()
    assert outbox.add(message(1)) is outbox.add(message(1))
    assert len(outbox) == 1
    with pytest.raises(WrongState, match="make a new one"):
        outbox.add(message(1, OTHER))


def test_a_message_may_have_the_id_of_its_conversation() -> None:
    same = Send(ref=0, conversation=CONVERSATION, id=CONVERSATION, body=text())
    assert [after for _, after in send_all(Outbox([same, message(2)]))] == [None, CONVERSATION]
    with pytest.raises(WrongState):
        Outbox([opening(), same])


def test_a_new_connection_sends_everything_again() -> None:
    outbox = Outbox([message(1), message(2)])
    (first, _), _ = send_all(outbox)
    outbox.accept(first, Ok(ref=1, usn=5))
    outbox.start_over()
    assert outbox.covered(100) == []
    assert [entry.key for entry, _ in send_all(outbox)] == [message_id(1), message_id(2)]


def test_numbered_frames() -> None:
    assert numbered(Entry(message(1)), 7, None).ref == 7
    chained = numbered(Entry(message(1)), 7, message_id(9))
    assert isinstance(chained, Send)
    assert chained.after == message_id(9)
    assert numbered(Entry(opening()), 8, None) == Open(ref=8, conversation=CONVERSATION)


@pytest.mark.parametrize(
    ("proof", "proves"),
    [
        (event(1, id=message_id(1), author=MINE), True),
        (event(1, id=message_id(1), author=MINE, conversation=OTHER), False),
        (event(1, id=message_id(1)), False),
        (event(1, author=MINE), False),
    ],
)
def test_a_message_is_forgotten_when_it_is_seen_as_the_users_own(proof: Event, proves: bool) -> None:
    outbox = Outbox([message(1)])
    assert outbox.seen(proof) == ([message_id(1)] if proves else [])
    assert len(outbox) == (0 if proves else 1)


def test_an_open_without_a_message_is_forgotten_when_the_conversation_is_seen() -> None:
    outbox = Outbox([opening()])
    assert outbox.seen(event(1)) == []
    assert outbox.seen(event(2, kind="conversation.opened")) == [CONVERSATION]


def test_what_lies_before_a_snapshot_is_forgotten() -> None:
    outbox = Outbox([message(1), message(2), message(3)])
    sent = send_all(outbox)
    outbox.accept(sent[0][0], Ok(ref=1, usn=5))
    outbox.accept(sent[1][0], Ok(ref=2, usn=6))
    assert outbox.covered(5) == [message_id(1)]
    assert outbox.frames() == [message(2), message(3)]


def error(code: ErrorCode) -> Error:
    return Error(ref=1, code=code, message="m", retry=code.retry)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_which_refusals_are_tried_again(code: ErrorCode) -> None:
    outbox = Outbox([message(1)])
    ((entry, _),) = send_all(outbox)
    assert outbox.refuse(entry, error(code)) is (code.retry or code is ErrorCode.UNAUTHORIZED)


def test_a_message_to_a_conversation_still_being_opened_is_tried_again() -> None:
    outbox = Outbox([opening(), message(1), message(2, OTHER)])
    (first, _), (second, _), (elsewhere, _) = send_all(outbox)
    assert outbox.refuse(second, error(ErrorCode.NOT_FOUND))
    assert not outbox.refuse(elsewhere, error(ErrorCode.NOT_FOUND))
    assert not outbox.refuse(first, error(ErrorCode.NOT_FOUND))
    outbox.accept(first, Ok(ref=1))
    assert not outbox.refuse(second, error(ErrorCode.NOT_FOUND))
    assert outbox.remove(second.key)
    assert not outbox.remove(second.key)
