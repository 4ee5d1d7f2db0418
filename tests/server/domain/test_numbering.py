"""Single rules of `domain.numbering`, each said once by itself; test_ledger_machine.py tries them in any order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from server.domain.conversation import Status
from server.domain.errors import (
    AnotherHistory,
    BadRequest,
    Conflict,
    DomainError,
    IdempotencyConflict,
    NotFound,
    OutOfOrder,
)
from server.domain.events import Author, AuthorType, Kind
from server.domain.intents import (
    AddNote,
    AnyIntent,
    Assign,
    MarkRead,
    Message,
    Open,
    Post,
    PutTransaction,
    Rate,
    SetStatus,
    SetTags,
)
from server.domain.message import Text, TransactionShared, from_struct
from server.domain.numbering import Ledger, Numbered, apply
from server.domain.transaction import RECENT, Transaction
from tests.server.domain.test_conversation import AT
from tests.server.domain.test_ledger_machine import APP, CUSTOMER, ROBIN, SAM, USER, state_of

HERE, THERE = UUID(int=10), UUID(int=11)
SYSTEM_BOT = Author(AuthorType.BOT, "bot")


@pytest.fixture
def ledger() -> Ledger:
    """A new user's: nothing is known."""
    return Ledger(APP, USER, 0, AT, "h")


class Desk:
    """Intents in short."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def do(self, kind: type[Any], conversation_id: UUID = HERE, **fields: Any) -> Numbered:
        intent: AnyIntent = kind(app_id=APP, user_id=USER, conversation_id=conversation_id, **fields)
        return apply(self.ledger, intent)

    def open(self, conversation_id: UUID = HERE, **fields: Any) -> Numbered:
        return self.do(Open, conversation_id, author=CUSTOMER, **fields)

    def say(
        self, author: Author, number: int, words: str = "hello", conversation_id: UUID = HERE, **more: Any
    ) -> Numbered:
        return self.do(Post, conversation_id, message=message(author, number, words), **more)

    def put(self, transaction_id: str, version: int, **facts: Any) -> Numbered:
        transaction = Transaction(id=transaction_id, version=version, **facts)
        return apply(self.ledger, PutTransaction(app_id=APP, user_id=USER, transaction=transaction))

    @property
    def here(self) -> Any:
        return self.ledger.conversations[HERE]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.ledger.events]


def message(author: Author, number: int, words: str = "hello") -> Message:
    return Message(UUID(int=500 + number), author, from_struct(Text(text=words)))


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    opened = Desk(ledger)
    opened.open()
    return opened


def body(numbered: Numbered) -> Any:
    assert numbered.event is not None
    return msgspec.json.decode(numbered.event.body)


def test_opening_with_a_message_answers_with_the_messages_numbers(ledger: Ledger) -> None:
    answer = Desk(ledger).open(message=message(CUSTOMER, 1))
    assert (answer.seq, answer.usn) == (2, 2)
    assert [event.kind for event in ledger.events] == [Kind.OPENED, Kind.MESSAGE]


def test_opening_again_in_the_same_batch_is_a_repeat(desk: Desk) -> None:
    again = desk.open(topic="another one")
    assert (again.seq, again.usn, again.duplicate, again.applied) == (1, 1, True, False)
    assert desk.here.topic is None
    assert desk.kinds() == [Kind.OPENED]


def test_opening_again_with_a_new_message_adds_it(desk: Desk) -> None:
    answer = desk.open(message=message(CUSTOMER, 1))
    assert (answer.seq, answer.duplicate) == (2, False)
    assert desk.open(message=message(CUSTOMER, 1)).duplicate


def test_an_id_of_another_user_does_not_exist(ledger: Ledger) -> None:
    ledger.foreign.add(HERE)
    before = state_of(ledger)
    with pytest.raises(NotFound) as refused:
        Desk(ledger).open()
    assert refused.value.field == "conversation"
    assert state_of(ledger) == before


def test_opening_with_a_message_id_that_was_used_elsewhere_is_refused_whole(desk: Desk) -> None:
    desk.say(CUSTOMER, 1)
    before = state_of(desk.ledger)
    with pytest.raises(IdempotencyConflict) as refused:
        desk.open(THERE, message=message(CUSTOMER, 1))
    assert refused.value.field == "message.id"
    assert state_of(desk.ledger) == before


def test_the_same_id_is_free_for_another_author(desk: Desk) -> None:
    assert [desk.say(author, 1).seq for author in (CUSTOMER, ROBIN, SAM, SYSTEM_BOT)] == [2, 3, 4, 5]


@pytest.mark.parametrize("change", ["words", "conversation"])
def test_an_id_means_one_thing_for_ever(desk: Desk, change: str) -> None:
    desk.open(THERE)
    first = desk.say(CUSTOMER, 1)
    again = desk.say(CUSTOMER, 1)
    assert (again.seq, again.usn, again.at) == (first.seq, first.usn, first.at)
    assert (again.duplicate, again.applied, again.event) == (True, False, None)
    with pytest.raises(IdempotencyConflict) as refused:
        desk.say(CUSTOMER, 1, "other words" if change == "words" else "hello", HERE if change == "words" else THERE)
    assert refused.value.field == "id"


def test_a_repeat_needs_no_chain_and_no_cursor(desk: Desk) -> None:
    desk.say(CUSTOMER, 1)
    desk.say(ROBIN, 2)
    assert desk.say(CUSTOMER, 1, after=UUID(int=999), expected_seq=0).duplicate


def test_a_chain_holds_within_one_author_and_one_conversation(desk: Desk) -> None:
    desk.open(THERE)
    first = message(CUSTOMER, 1).id
    with pytest.raises(OutOfOrder) as refused:
        desk.say(CUSTOMER, 2, after=first)
    assert refused.value.field == "after"
    desk.say(ROBIN, 1)
    desk.say(CUSTOMER, 1, conversation_id=THERE)
    with pytest.raises(OutOfOrder):  # another author's, and another conversation's
        desk.say(CUSTOMER, 2, after=first)
    desk.say(CUSTOMER, 3)
    assert desk.say(CUSTOMER, 4, after=message(CUSTOMER, 3).id).seq == 4


def test_who_has_not_read_someone_elses_message_does_not_talk_past_it(desk: Desk) -> None:
    asked = desk.say(CUSTOMER, 1)
    assert asked.seq is not None
    with pytest.raises(Conflict) as refused:
        desk.say(ROBIN, 2, expected_seq=asked.seq - 1)
    assert refused.value.field == "expected_seq"
    assert desk.say(ROBIN, 2, expected_seq=asked.seq).seq == 3
    assert desk.say(ROBIN, 3, expected_seq=asked.seq).seq == 4, "one's own messages are no conflict"
    with pytest.raises(Conflict):
        desk.say(SAM, 4, expected_seq=asked.seq)


def test_notes_and_receipts_are_no_conflict(desk: Desk) -> None:
    asked = desk.say(CUSTOMER, 1)
    desk.do(AddNote, message=message(SAM, 2))
    desk.do(MarkRead, reader="user", author=CUSTOMER, seq=2)
    assert desk.say(ROBIN, 3, expected_seq=asked.seq).applied


def test_a_note_has_a_seq_and_no_usn_and_moves_nothing(desk: Desk) -> None:
    desk.do(SetStatus, author=ROBIN, status=Status.PENDING)
    note = desk.do(AddNote, message=message(ROBIN, 1, "angry, be kind"))
    assert (note.seq, note.usn) == (3, None)
    assert desk.ledger.usn == 2
    assert desk.do(AddNote, message=message(ROBIN, 1, "angry, be kind")).duplicate
    with pytest.raises(IdempotencyConflict):
        desk.do(AddNote, message=message(ROBIN, 1, "other words"))
    assert desk.here.status is Status.PENDING
    assert (desk.here.user_unread, desk.here.agent_unread, desk.here.last_message) == (0, 0, None)


def test_a_customer_who_writes_opens_it_again_after_the_message(desk: Desk) -> None:
    desk.do(SetStatus, author=ROBIN, status=Status.RESOLVED)
    said = desk.say(CUSTOMER, 1)
    status = desk.ledger.events[-1]
    assert (said.seq, status.seq, status.kind, status.author.type) == (3, 4, Kind.STATUS, AuthorType.SYSTEM)
    assert msgspec.json.decode(status.body) == {"status": "open", "previous": "resolved"}


def test_an_agents_words_open_nothing(desk: Desk) -> None:
    desk.do(SetStatus, author=ROBIN, status=Status.RESOLVED)
    desk.say(ROBIN, 1)
    assert desk.here.status is Status.RESOLVED
    assert desk.kinds()[-1] == Kind.MESSAGE


def test_snoozing_needs_a_time_to_come(desk: Desk) -> None:
    for until in (None, AT, AT - timedelta(seconds=1)):
        with pytest.raises(BadRequest) as refused:
            desk.do(SetStatus, author=ROBIN, status=Status.SNOOZED, snoozed_until=until)
        assert refused.value.field == "snoozed_until"
    with pytest.raises(BadRequest):
        desk.do(SetStatus, author=ROBIN, status=Status.PENDING, snoozed_until=AT + timedelta(hours=1))
    later = AT + timedelta(hours=1)
    assert body(desk.do(SetStatus, author=ROBIN, status=Status.SNOOZED, snoozed_until=later)) == {
        "status": "snoozed",
        "previous": "open",
        "snoozed_until": "2030-01-01T01:00:00Z",
    }
    assert not desk.do(SetStatus, author=SAM, status=Status.SNOOZED, snoozed_until=later).applied
    longer = desk.do(SetStatus, author=ROBIN, status=Status.SNOOZED, snoozed_until=later + timedelta(hours=1))
    assert body(longer)["previous"] == "snoozed"
    desk.say(CUSTOMER, 1)
    assert (desk.here.status, desk.here.snoozed_until) == (Status.OPEN, None)


def test_a_cursor_goes_forward_and_not_beyond_the_newest(desk: Desk) -> None:
    for number in range(3):
        desk.say(ROBIN, number)
    assert desk.here.user_unread == 3
    assert desk.do(MarkRead, reader="user", author=CUSTOMER, seq=3).applied
    assert (desk.here.user_read_seq, desk.here.user_unread) == (3, 1)
    for seq in (3, 2, 0, -7):
        assert not desk.do(MarkRead, reader="user", author=CUSTOMER, seq=seq).applied
    newest = desk.here.seq
    assert body(desk.do(MarkRead, reader="user", author=CUSTOMER, seq=10**9)) == {"reader": "user", "seq": newest}
    assert (desk.here.user_read_seq, desk.here.user_unread, desk.here.agent_read_seq) == (newest, 0, 0)


def test_what_was_stored_before_the_batch_counts_as_unread(desk: Desk) -> None:
    desk.ledger.last_counts[(HERE, "agent", 1)] = 4
    desk.say(CUSTOMER, 1)
    desk.do(MarkRead, reader="agent", author=ROBIN, seq=1)
    assert desk.here.agent_unread == 5


def test_taking_and_putting_back(desk: Desk) -> None:
    assert body(desk.do(Assign, author=SAM, assignee=ROBIN)) == {"assignee": {"id": ROBIN.id, "name": "Robin"}}
    assert desk.here.assignee == UUID(ROBIN.id)
    assert not desk.do(Assign, author=ROBIN, assignee=ROBIN).applied
    assert body(desk.do(Assign, author=ROBIN, assignee=None)) == {"assignee": None}
    assert not desk.do(Assign, author=ROBIN, assignee=None).applied


def test_tags_are_no_event_but_a_change(desk: Desk) -> None:
    before = desk.here.rev
    assert desk.do(SetTags, tags=["vip"]).applied
    assert (desk.here.tags, desk.here.rev, desk.here.seq) == (["vip"], before + 1, 1)
    assert not desk.do(SetTags, tags=["vip"]).applied
    assert desk.here.rev == before + 1


def test_a_later_rating_replaces_an_earlier_one(desk: Desk) -> None:
    assert body(desk.do(Rate, author=CUSTOMER, score=2, comment="slow")) == {"score": 2, "comment": "slow"}
    assert body(desk.do(Rate, author=CUSTOMER, score=5, comment=None)) == {"score": 5}
    assert desk.ledger.ratings[HERE].score == 5
    again = desk.do(Rate, author=CUSTOMER, score=5, comment=None)
    assert not again.applied, "a batch that is written again must not rate again"


def test_a_new_version_is_told_where_it_is_spoken_of(desk: Desk) -> None:
    desk.open(THERE, transaction_id="ride-1")
    assert desk.put("ride-1", 2, title="Harbour", status="in progress").applied
    assert desk.ledger.conversations[THERE].headline == "Harbour · in progress"
    assert desk.here.headline is None
    assert [event.conversation_id for event in desk.ledger.events if event.kind == Kind.TRANSACTION] == [THERE]
    for version in (2, 1):
        assert not desk.put("ride-1", version, status="lies").applied
    desk.do(Post, message=Message(UUID(int=900), CUSTOMER, from_struct(TransactionShared(transaction="ride-1"))))
    desk.do(SetStatus, THERE, author=ROBIN, status=Status.RESOLVED)
    desk.put("ride-1", 3, title="Harbour", status="completed")
    told = [event.conversation_id for event in desk.ledger.events if event.kind == Kind.TRANSACTION]
    assert told == [THERE, HERE], "a resolved one is left in peace"
    assert desk.here.headline is None, "shared later, so not what the conversation is about"


def test_the_snapshot_is_of_the_moment_and_of_the_newest(ledger: Ledger) -> None:
    desk = Desk(ledger)
    for number in range(RECENT + 2):
        desk.put(f"ride-{number}", 1, occurred_at=AT - timedelta(days=number))
    desk.open(transaction_id=f"ride-{RECENT + 1}")
    frozen = ledger.snapshots[HERE]
    assert frozen.transaction == ledger.transactions[f"ride-{RECENT + 1}"]
    assert [known.id for known in frozen.recent] == [f"ride-{number}" for number in range(RECENT)]
    desk.put("ride-0", 2, status="cancelled")
    assert ledger.snapshots[HERE].recent[0].status is None


def test_a_new_version_does_not_make_a_transaction_newer(ledger: Ledger) -> None:
    desk = Desk(ledger)
    desk.put("early", 1)
    ledger.recency["early"] = AT - timedelta(days=1)  # when it was first heard of, as storage says
    desk.put("late", 1)
    desk.put("early", 2, status="completed")
    desk.open()
    assert [known.id for known in ledger.snapshots[HERE].recent] == ["late", "early"]


def test_a_chat_does_not_wait_for_context(ledger: Ledger) -> None:
    desk = Desk(ledger)
    desk.open(transaction_id="not-pushed-yet")
    assert ledger.snapshots[HERE].transaction is None
    assert (desk.here.transaction_ids, desk.here.headline) == (["not-pushed-yet"], None)
    desk.put("not-pushed-yet", 1, title="Harbour")
    assert desk.here.headline == "Harbour"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Post, {"message": message(CUSTOMER, 1)}),
        (AddNote, {"message": message(ROBIN, 1)}),
        (MarkRead, {"reader": "user", "author": CUSTOMER, "seq": 1}),
        (SetStatus, {"author": ROBIN, "status": Status.OPEN}),
        (Assign, {"author": ROBIN, "assignee": None}),
        (SetTags, {"tags": []}),
        (Rate, {"author": CUSTOMER, "score": 1}),
    ],
)
def test_nothing_can_be_done_in_a_conversation_that_is_not_there(
    ledger: Ledger, kind: type[Any], fields: dict[str, Any]
) -> None:
    before = state_of(ledger)
    with pytest.raises(NotFound) as refused:
        Desk(ledger).do(kind, **fields)
    assert isinstance(refused.value, DomainError)
    assert refused.value.field == "conversation"
    assert state_of(ledger) == before


def test_the_preview_of_the_newest_message(desk: Desk) -> None:
    desk.say(CUSTOMER, 1, "  Where is\nmy ride? ")
    assert msgspec.json.decode(desk.here.last_message) == {
        "seq": 2,
        "kind": "text",
        "text": "Where is my ride?",
        "author": {"type": "user", "id": CUSTOMER.id, "name": "Ada"},
        "at": "2030-01-01T00:00:00Z",
    }


def test_nothing_is_written_into_another_history_than_the_asker_knows(ledger: Ledger) -> None:
    desk = Desk(ledger)
    desk.open(history="h")
    desk.say(CUSTOMER, 1, history="h")
    before = state_of(ledger)
    with pytest.raises(AnotherHistory) as refusal:
        desk.say(CUSTOMER, 2, history="h-before-the-failover")
    assert (refusal.value.code, refusal.value.retry) == ("unavailable", True)
    with pytest.raises(AnotherHistory):
        desk.say(CUSTOMER, 1, history="h-before-the-failover")
    assert state_of(ledger) == before
