"""`domain.numbering` against a list: any intents, in any batches, each batch from a ledger loaded anew.

What must hold (protocol.md, "Numbers", S2, S3): `seq` is dense per conversation and `usn` per user over what the user
may see; a repeat gets the first numbers for ever; a refused intent changes nothing.
"""

from __future__ import annotations

import copy
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.domain.conversation import Conversation, Status
from server.domain.errors import DomainError
from server.domain.events import SYSTEM, Author, AuthorType
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
from tests.server.domain.ledger_store import Store
from tests.server.domain.list_model import ListModel, Verdict

if TYPE_CHECKING:
    from server.domain.events import Event

START = datetime(2030, 1, 1, tzinfo=UTC)
APP, USER = UUID(int=1), UUID(int=2)
CONVERSATIONS = [UUID(int=100 + number) for number in range(3)]
SOMEBODY_ELSES = UUID(int=199)
CLIENT_IDS = [UUID(int=200 + number) for number in range(12)]
CUSTOMER = Author(AuthorType.USER, str(USER), "Ada")
ROBIN = Author(AuthorType.AGENT, str(UUID(int=301)), "Robin")
SAM = Author(AuthorType.AGENT, str(UUID(int=302)))
BOT = Author(AuthorType.BOT, "bot")
TRANSACTIONS = [f"ride-{number}" for number in range(RECENT + 2)]

# The first one is mostly meant, so that things happen to one conversation; the last ones may not be there at all.
conversations = st.sampled_from([*CONVERSATIONS[:1] * 8, *CONVERSATIONS[1:] * 2, SOMEBODY_ELSES])
agents = st.sampled_from([ROBIN, SAM])
bodies = st.one_of(
    st.sampled_from(["hello", "are you there?"]).map(lambda words: from_struct(Text(text=words))),
    st.sampled_from(TRANSACTIONS[:3]).map(lambda known: from_struct(TransactionShared(transaction=known))),
)
authors = st.sampled_from([CUSTOMER, CUSTOMER, ROBIN, SAM, BOT])
messages = st.tuples(st.sampled_from(CLIENT_IDS), authors, bodies).map(lambda drawn: Message(*drawn))
cursors = st.integers(min_value=-1, max_value=12)


class LedgerAgainstLists(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store(APP, USER, {SOMEBODY_ELSES})
        self.model = ListModel({SOMEBODY_ELSES})
        self.waiting: list[AnyIntent] = []
        self.now = START
        self.first_answers: dict[tuple[tuple[str, str], UUID], Numbered] = {}

    @initialize(topic=st.none() | st.just("Fare"), transaction=st.sampled_from(TRANSACTIONS[:3]))
    def open_the_first(self, topic: str | None, transaction: str) -> None:
        self.open(CONVERSATIONS[0], None, topic, transaction)
        self.commit()

    def want(self, kind: type[Any], **fields: Any) -> None:
        self.waiting.append(kind(app_id=APP, user_id=USER, **fields))

    @rule(
        conversation=conversations,
        message=st.none() | messages,
        topic=st.none() | st.just("Fare"),
        transaction=st.none() | st.sampled_from(TRANSACTIONS),
    )
    def open(self, conversation: UUID, message: Message | None, topic: str | None, transaction: str | None) -> None:
        self.want(
            Open,
            conversation_id=conversation,
            author=message.author if message else CUSTOMER,
            topic=topic,
            transaction_id=transaction,
            message=message,
        )

    @rule(
        conversation=conversations,
        message=messages,
        after=st.none() | st.sampled_from(CLIENT_IDS),
        expected=st.none() | cursors,
    )
    def post(self, conversation: UUID, message: Message, after: UUID | None, expected: int | None) -> None:
        self.want(Post, conversation_id=conversation, message=message, after=after, expected_seq=expected)

    @rule(conversation=conversations, message=messages)
    def post_plainly(self, conversation: UUID, message: Message) -> None:
        self.want(Post, conversation_id=conversation, message=message)

    @rule(conversation=conversations, author=agents, client_id=st.sampled_from(CLIENT_IDS), body=bodies)
    def note(self, conversation: UUID, author: Author, client_id: UUID, body: Any) -> None:
        self.want(AddNote, conversation_id=conversation, message=Message(client_id, author, body))

    @rule(conversation=conversations, reader=st.sampled_from(["user", "agent"]), seq=cursors)
    def read(self, conversation: UUID, reader: str, seq: int) -> None:
        author = CUSTOMER if reader == "user" else ROBIN
        self.want(MarkRead, conversation_id=conversation, reader=reader, author=author, seq=seq)

    @rule(
        conversation=conversations,
        author=agents,
        status=st.sampled_from(Status),
        snooze_hours=st.none() | st.sampled_from([-1, 0, 24, 48]),
    )
    def set_status(self, conversation: UUID, author: Author, status: Status, snooze_hours: int | None) -> None:
        until = START + timedelta(hours=snooze_hours) if snooze_hours is not None else None
        self.want(SetStatus, conversation_id=conversation, author=author, status=status, snoozed_until=until)

    @rule(conversation=conversations, author=agents, assignee=st.none() | agents)
    def assign(self, conversation: UUID, author: Author, assignee: Author | None) -> None:
        self.want(Assign, conversation_id=conversation, author=author, assignee=assignee)

    @rule(conversation=conversations, tags=st.lists(st.sampled_from(["fare", "vip"]), max_size=2, unique=True))
    def set_tags(self, conversation: UUID, tags: list[str]) -> None:
        self.want(SetTags, conversation_id=conversation, tags=tags)

    @rule(conversation=conversations, score=st.integers(1, 5), comment=st.none() | st.just("slow"))
    def rate(self, conversation: UUID, score: int, comment: str | None) -> None:
        self.want(Rate, conversation_id=conversation, author=CUSTOMER, score=score, comment=comment)

    @rule(number=st.integers(0, RECENT + 1), version=st.integers(1, 4), status=st.none() | st.just("cancelled"))
    def put(self, number: int, version: int, status: str | None) -> None:
        # When it happened belongs to the transaction; every other one does not say, and counts from when it was heard.
        occurred = START - timedelta(days=number) if number % 2 else None
        transaction = Transaction(
            id=TRANSACTIONS[number], version=version, kind="ride", status=status, occurred_at=occurred
        )
        self.want(PutTransaction, transaction=transaction)

    @precondition(lambda self: len(self.waiting) > 2)
    @rule()
    def commit(self) -> None:
        """The batch that waits, as `storage.writer` would write it."""
        intents, self.waiting = self.waiting, []
        self.now += timedelta(seconds=1)
        ledger = self.store.load(intents, self.now)
        for intent in intents:
            self._apply(ledger, intent)
        self.store.write(ledger)
        self._compare_with_lists()

    def teardown(self) -> None:
        if self.waiting:
            self.commit()

    def _apply(self, ledger: Ledger, intent: AnyIntent) -> None:
        before = state_of(ledger)
        concerned = set()
        if isinstance(intent, PutTransaction):
            concerned = self.model.concerned(intent.transaction.id)
        expected = self.model.take(intent, self.now)
        answer = None
        try:
            answer = apply(ledger, intent)
        except DomainError as refusal:
            code = refusal.code
        else:
            code = ""
        assert code == (expected.error or ""), intent
        if answer is None:
            assert state_of(ledger) == before, "a refused intent left something behind"
            return
        self._check_answer(ledger, intent, answer, expected)
        if isinstance(intent, PutTransaction) and answer.applied:
            self._hear_of_transaction(ledger, intent.transaction, concerned, len(before["events"]))
        elif isinstance(intent, Open) and intent.conversation_id not in before["conversations"]:
            self._check_snapshot(ledger, intent)
        if not answer.applied:
            assert state_of(ledger) == before, "nothing was to change, and something has"
        check_revisions(before["conversations"], ledger)

    def _check_answer(self, ledger: Ledger, intent: AnyIntent, answer: Numbered, expected: Verdict) -> None:
        assert (answer.duplicate, answer.applied) == (expected.duplicate, expected.applied)
        if expected.place is None:
            assert answer.event is None
            return
        assert (answer.conversation_id, answer.seq) == expected.place
        assert answer.usn == self.model.usn_of(expected.place)
        if isinstance(intent, Open) and intent.message is None:
            return
        if answer.event is not None:
            assert answer.event in ledger.events
            assert (answer.event.seq, answer.event.usn, answer.event.at) == (answer.seq, answer.usn, answer.at)
            assert answer.at == self.now
        if isinstance(intent, Open | Post | AddNote) and intent.message is not None:
            key = (intent.message.author.key, intent.message.id)
            first = self.first_answers.setdefault(key, answer)
            assert (first.conversation_id, first.seq, first.usn, first.at) == (
                answer.conversation_id,
                answer.seq,
                answer.usn,
                answer.at,
            )

    def _hear_of_transaction(self, ledger: Ledger, put: Transaction, concerned: set[UUID], known_events: int) -> None:
        told = [event.conversation_id for event in ledger.events[known_events:]]
        assert sorted(told) == sorted(concerned), "each open thread about it hears of a new version once"
        for conversation_id in told:
            self.model.tell(conversation_id, put)

    def _check_snapshot(self, ledger: Ledger, intent: Open) -> None:
        """The frozen context is what was known, this very batch included."""
        snapshot = ledger.snapshots[intent.conversation_id]
        known = {kept.transaction.id: kept for kept in self.store.transactions.values()}
        recency = {name: kept.transaction.occurred_at or kept.created_at for name, kept in known.items()}
        recency |= {
            put.id: put.occurred_at or (known[put.id].created_at if put.id in known else self.now)
            for put in ledger.put.values()
        }
        newest = sorted(recency, key=lambda name: (recency[name], name), reverse=True)[:RECENT]
        assert snapshot.recent == [self.model.transactions[name] for name in newest]
        picked = intent.transaction_id
        assert snapshot.transaction == (self.model.transactions.get(picked) if picked is not None else None)
        assert snapshot.frozen_at == self.now

    def _compare_with_lists(self) -> None:
        store, model = self.store, self.model
        assert {known: kept.transaction for known, kept in store.transactions.items()} == model.transactions
        assert set(store.conversations) == set(store.snapshots) == set(model.threads)
        for conversation_id, thread in model.threads.items():
            events = [event for event in store.events if event.conversation_id == conversation_id]
            assert [described(event) for event in events] == [
                (line.kind, line.author.key, line.visible, line.client and line.client[1], line.body)
                for line in thread.lines
            ]
            kept = store.conversations[conversation_id]
            assert kept.seq == len(thread.lines)
            assert (kept.status, kept.snoozed_until) == (thread.status, thread.snoozed_until)
            assert kept.assignee == (UUID(thread.assignee) if thread.assignee else None)
            assert (kept.tags, kept.transaction_ids) == (thread.tags, thread.subjects)
            assert (kept.transaction_id, kept.headline) == (thread.picked, thread.headline)
            assert (kept.user_read_seq, kept.agent_read_seq) == (thread.read["user"], thread.read["agent"])
            assert (kept.user_unread, kept.agent_unread) == (thread.unread("user"), thread.unread("agent"))
            assert store.ratings.get(conversation_id) == thread.rating
            said = thread.messages()
            assert kept.last_message_seq == (said[-1][0] if said else 0)
            if said:
                assert kept.last_message is not None
                newest: dict[str, Any] = msgspec.json.decode(kept.last_message)
                assert (newest["seq"], newest["author"]["type"]) == (said[-1][0], said[-1][1].author.type.value)
            else:
                assert kept.last_message is None

    @invariant()
    def numbers_are_dense(self) -> None:
        visible = [event.usn for event in self.store.events if event.usn is not None]
        assert visible == list(range(1, self.store.usn + 1))
        for conversation_id, kept in self.store.conversations.items():
            seqs = [event.seq for event in self.store.events if event.conversation_id == conversation_id]
            assert seqs == list(range(1, kept.seq + 1))
        assert all((event.usn is None) == (event.kind == "note") for event in self.store.events)

    @invariant()
    def counters_are_recounts(self) -> None:
        for conversation_id, kept in self.store.conversations.items():
            for reader, seq, unread in (
                ("user", kept.user_read_seq, kept.user_unread),
                ("agent", kept.agent_read_seq, kept.agent_unread),
            ):
                assert 0 <= seq <= kept.seq
                assert unread == self.store.recount(conversation_id, reader, seq)


def state_of(ledger: Ledger) -> dict[str, Any]:
    return {slot: copy.deepcopy(getattr(ledger, slot)) for slot in Ledger.__slots__}


def check_revisions(before: dict[UUID, Conversation], ledger: Ledger) -> None:
    """`rev` grows exactly when the summary changes; then the change is dated and will be written."""
    for conversation_id, conversation in ledger.conversations.items():
        known = before.get(conversation_id)
        if known is None:
            assert conversation.rev > 0
        elif msgspec.structs.replace(known, rev=0, updated_at=START) == msgspec.structs.replace(
            conversation, rev=0, updated_at=START
        ):
            assert conversation == known
            continue
        else:
            assert conversation.rev > known.rev
        assert conversation.updated_at == ledger.now, "a sweep that looks for changes by time would miss this one"
        assert ledger.touched[conversation_id] is conversation


def described(event: Event) -> tuple[str, tuple[str, str], bool, UUID | None, dict[str, Any]]:
    """An event as the lists have it."""
    body: dict[str, Any] = msgspec.json.decode(event.body)
    if event.kind in ("message", "note"):
        body = {"digest": hashlib.blake2b(event.body, digest_size=16).hexdigest()}
    elif event.kind == "transaction.updated":
        body = {"version": body["transaction"]["version"]}
        assert event.author == SYSTEM
    elif event.kind == "conversation.opened":
        body.pop("context")
    return event.kind, event.author.key, event.usn is not None, event.client_id, body


TestLedgerAgainstLists = LedgerAgainstLists.TestCase
TestLedgerAgainstLists.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
