"""Actions in a user's log: the one table of moves, who may decide, what the customer hears (docs/actions.md)."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.domain.action import (
    ASKED,
    MOVES,
    OPEN,
    PAUSES_S,
    Action,
    Cause,
    Definition,
    State,
    approver_of,
    next_state,
    pause_after,
)
from server.domain.action_log import TOLD
from server.domain.conversation import Conversation
from server.domain.errors import BadRequest, Conflict, DomainError, Forbidden, IdempotencyConflict, NotFound
from server.domain.events import SYSTEM, Author, AuthorType, Kind
from server.domain.intents import MoveAction, PressAction
from server.domain.numbering import Ledger, Numbered, apply
from server.domain.transaction import Amount, Transaction

NOW = datetime(2030, 1, 1, tzinfo=UTC)
APP, USER, CONVERSATION, DEFINITION = (UUID(int=number) for number in range(1, 5))
ROBIN, SAM, CHIEF = (UUID(int=number) for number in (301, 302, 303))
SETTLED = set(State) - OPEN
ANSWERS = (Cause.ANSWER_DONE, Cause.ANSWER_FAILED, Cause.ANSWER_PENDING, Cause.NO_ANSWER)
SECRET = "4111 1111"  # stands in parameters and errors, and must never be in the log


def definition(**other: Any) -> Definition:
    known: dict[str, Any] = {
        "app_id": APP,
        "definition_id": DEFINITION,
        "name": "refund",
        "title": "Refund",
        "url": "https://app.example/refund",
        "kinds": ["ride"],
        "parameters": {"type": "object"},
        "amount_limit": None,
        "over_limit": "refuse",
        "approval": "none",
        "allow_parallel": False,
        "enabled": True,
        "made_as": b"",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Definition(**(known | other))


def ride(version: int = 1, name: str = "ride-1", **other: Any) -> Transaction:
    known: dict[str, Any] = {"id": name, "version": version, "kind": "ride", "amount": Amount("12.50", "EUR")}
    return Transaction(**(known | other))


def author(agent: UUID) -> Author:
    return Author(AuthorType.AGENT, str(agent), "Robin")


class Desk:
    """A ledger in which a conversation and rides are known, and short ways to act."""

    def __init__(self, *rides: Transaction) -> None:
        self.ledger = Ledger(APP, USER, 1, NOW, "h")
        self.ledger.conversations[CONVERSATION] = Conversation(
            app_id=APP, user_id=USER, conversation_id=CONVERSATION, seq=1, opened_at=NOW, updated_at=NOW
        )
        for known in rides or (ride(),):
            self.ledger.transactions[known.id] = known
        self.ids = itertools.count(1000)

    def press(
        self,
        rules: Definition | None = None,
        *,
        agent: UUID = ROBIN,
        transaction: str | None = "ride-1",
        version: int | None = None,
        action_id: UUID | None = None,
        made_as: bytes = b"1",
        **parameters: Any,
    ) -> Action:
        rules = rules or definition()
        action_id = action_id or UUID(int=next(self.ids))
        given = {"card": SECRET} | parameters
        action = Action(
            app_id=APP,
            user_id=USER,
            conversation_id=CONVERSATION,
            action_id=action_id,
            listed_as=action_id,
            definition_id=rules.definition_id,
            name=rules.name,
            title=rules.title,
            transaction_id=transaction,
            parameters=msgspec.json.encode(given),
            requested_by=agent,
            requested_at=NOW,
            made_as=made_as,
            since=NOW,
            updated_at=NOW,
        )
        asked = {"action": action, "definition": rules, "parameters": given, "version": version}
        self.take(PressAction, author=author(agent), **asked)
        return self.ledger.actions[action_id]

    def move(self, action: Action, cause: Cause, by: UUID | None = None, **more: Any) -> Action:
        who = author(by) if by is not None else SYSTEM
        self.take(MoveAction, author=who, action_id=action.action_id, cause=cause, by=by, **more)
        return self.ledger.actions[action.action_id]

    def take(self, kind: Any, **fields: Any) -> Numbered:
        return apply(self.ledger, kind(app_id=APP, user_id=USER, conversation_id=CONVERSATION, **fields))

    @property
    def told(self) -> list[tuple[str, bool]]:
        """(state, whether the customer hears of it) of each event."""
        events = [event for event in self.ledger.events if event.kind == Kind.ACTION]
        return [(msgspec.json.decode(event.body)["action"]["state"], event.usn is not None) for event in events]


def test_every_open_state_can_be_left_and_no_settled_one() -> None:
    assert {state for state, _ in MOVES} == OPEN
    for state in OPEN:
        assert any(MOVES.get((state, cause)) in SETTLED for cause in Cause)
    # Only an answer says that something has happened, and nobody asks before it is approved.
    assert {cause for (_, cause), to in MOVES.items() if to in (State.DONE, State.FAILED)} == {
        Cause.ANSWER_DONE,
        Cause.ANSWER_FAILED,
    }
    assert not [cause for cause in ANSWERS if next_state(State.AWAITING_APPROVAL, cause)]


def test_a_press_goes_straight_to_the_app_and_its_sentence_to_the_customer() -> None:
    desk = Desk()
    action = desk.press()
    assert (action.state, action.due_at, action.version) == (State.PENDING, NOW, 1)
    done = desk.move(action, Cause.ANSWER_DONE, message="You get €5 back.", status=200)
    assert (done.state, done.due_at, done.attempts) == (State.DONE, None, 1)
    assert desk.told == [("pending", True), ("done", True)]
    assert msgspec.json.decode(desk.ledger.events[-1].body) == {
        "action": {
            "id": str(action.action_id),
            "name": "refund",
            "title": "Refund",
            "state": "done",
            "transaction": "ride-1",
            "message": "You get €5 back.",
        }
    }


def test_what_nobody_knows_stays_at_the_desk() -> None:
    desk = Desk()
    action = desk.press()
    lost = desk.move(action, Cause.NO_ANSWER, error=SECRET, due_at=NOW + timedelta(seconds=2))
    again = desk.move(lost, Cause.NO_ANSWER, error=SECRET, due_at=NOW + timedelta(seconds=5))
    assert (again.state, again.attempts, again.error) == (State.UNKNOWN, 2, SECRET)
    desk.move(again, Cause.ANSWER_FAILED, message="It was too late for a refund.")
    assert desk.told == [("pending", True), ("unknown", False), ("failed", True)]


def test_an_old_sentence_does_not_stand_beside_a_new_state() -> None:
    desk = Desk()
    action = desk.move(desk.press(), Cause.ANSWER_PENDING, message="We are on it.")
    assert desk.move(action, Cause.ANSWER_DONE).message is None


def test_a_transaction_that_is_not_the_customers_or_of_another_kind_or_newer() -> None:
    desk = Desk(ride(3), ride(1, "order-1", kind="order"))
    with pytest.raises(NotFound) as refused:
        desk.press(transaction="of somebody else")
    assert refused.value.field == "transaction"
    with pytest.raises(BadRequest, match="is for ride; the transaction is order"):
        desk.press(transaction="order-1")
    with pytest.raises(BadRequest, match="is for a transaction"):
        desk.press(transaction=None)
    with pytest.raises(Conflict, match="version 3") as moved_on:
        desk.press(version=2)
    assert moved_on.value.field == "version"
    assert desk.press(version=3).version == 3
    assert desk.press(definition(definition_id=UUID(int=9), kinds=[]), transaction=None).transaction is None


def test_one_at_a_time_for_a_transaction() -> None:
    desk = Desk(ride(), ride(name="ride-2"))
    first = desk.press()
    with pytest.raises(Conflict, match=str(first.action_id)):
        desk.press(agent=SAM)
    desk.press(transaction="ride-2")
    desk.press(definition(definition_id=UUID(int=9)))
    desk.press(definition(allow_parallel=True))
    desk = Desk()
    desk.move(desk.press(), Cause.ANSWER_DONE)
    desk.press()


def test_a_repeat_is_the_same_press() -> None:
    desk = Desk()
    first = desk.press(action_id=UUID(int=7))
    assert desk.press(action_id=UUID(int=7)) == first
    assert len(desk.told) == 1
    with pytest.raises(IdempotencyConflict):
        desk.press(action_id=UUID(int=7), made_as=b"2")


@pytest.mark.parametrize(
    ("parameters", "transaction", "needs"),
    [
        ({"amount": "20"}, ride(), None),
        ({"amount": "20.01"}, ride(), "supervisor"),
        ({"amount": {"value": "25", "currency": "EUR"}}, None, "supervisor"),
        ({"amount": "25"}, None, "supervisor"),
        ({}, ride(), None),
        ({}, ride(amount=Amount("99", "EUR")), "supervisor"),
    ],
)
def test_the_limit(parameters: dict[str, Any], transaction: Transaction | None, needs: str | None) -> None:
    asking = definition(amount_limit=Amount("20.00", "EUR"), over_limit="approve")
    assert approver_of(asking, parameters, transaction) == needs
    refusing = definition(amount_limit=Amount("20.00", "EUR"))
    if needs is None:
        assert approver_of(refusing, parameters, transaction) is None
    else:
        with pytest.raises(BadRequest, match="more than this action allows") as refused:
            approver_of(refusing, parameters, transaction)
        assert refused.value.field == "parameters.amount"


@pytest.mark.parametrize(
    ("parameters", "transaction"),
    [
        ({}, ride(amount=None)),
        ({"amount": "5", "currency": "USD"}, ride()),
        ({"amount": "5"}, ride(amount=Amount("5", "USD"))),
        ({"amount": "-5"}, ride()),
        ({"amount": "0.00"}, ride()),
        ({"amount": 5}, ride()),
        ({"amount": "5e3"}, ride()),
        ({"amount": {"value": "5"}}, ride()),
    ],
)
def test_an_amount_that_cannot_be_compared_is_refused(parameters: dict[str, Any], transaction: Transaction) -> None:
    with pytest.raises(BadRequest):
        approver_of(definition(amount_limit=Amount("20.00", "EUR"), over_limit="approve"), parameters, transaction)


def test_somebody_else_must_agree() -> None:
    desk = Desk()
    action = desk.press(definition(approval="second_agent"))
    assert (action.state, action.approver, action.due_at) == (State.AWAITING_APPROVAL, "agent", None)
    with pytest.raises(Forbidden):
        desk.move(action, Cause.APPROVE, ROBIN, supervisor=True)
    agreed = desk.move(action, Cause.APPROVE, SAM)
    assert (agreed.state, agreed.decided_by, agreed.due_at) == (State.PENDING, SAM, NOW)
    assert desk.move(action, Cause.APPROVE, SAM) == agreed  # a second click
    for cause, by in ((Cause.APPROVE, CHIEF), (Cause.REJECT, CHIEF), (Cause.REJECT, SAM)):
        with pytest.raises(Conflict, match="pending already"):
            desk.move(action, cause, by)
    assert desk.told == [("awaiting_approval", False), ("pending", True)]


def test_over_the_limit_a_supervisor_must_agree() -> None:
    desk = Desk()
    rules = definition(amount_limit=Amount("5", "EUR"), over_limit="approve")
    action = desk.press(rules)
    for cause in (Cause.APPROVE, Cause.REJECT):
        with pytest.raises(Forbidden, match="supervisor"):
            desk.move(action, cause, SAM)
    assert desk.move(action, Cause.REJECT, CHIEF, supervisor=True).state is State.REJECTED
    own = desk.press(rules)
    assert desk.move(own, Cause.REJECT, ROBIN).state is State.REJECTED  # taken back
    assert [heard for _, heard in desk.told] == [False] * 4


def test_a_transaction_that_changed_before_it_was_approved_is_asked_about_again() -> None:
    desk = Desk()
    action = desk.press(definition(approval="second_agent"))
    desk.ledger.transactions["ride-1"] = ride(2)
    for version in (None, 1):
        with pytest.raises(Conflict, match="version 2"):
            desk.move(action, Cause.APPROVE, SAM, version=version)
    assert desk.move(action, Cause.APPROVE, SAM, version=2).version == 2


def test_only_whoever_holds_the_claim_settles() -> None:
    desk = Desk()
    action = desk.press()
    mine, theirs = UUID(int=51), UUID(int=52)
    desk.ledger.actions[action.action_id] = msgspec.structs.replace(action, claim=theirs)
    with pytest.raises(Conflict):
        desk.move(action, Cause.ANSWER_FAILED, claim=mine)
    assert desk.move(action, Cause.ANSWER_DONE, claim=theirs).claim is None


def test_pauses() -> None:
    assert [pause_after(n + 1, 0.0).total_seconds() for n in range(len(PAUSES_S))] == list(PAUSES_S)
    assert pause_after(1000, 0.0) == timedelta(hours=1)
    assert pause_after(3, 1.0) == timedelta(seconds=15 * 0.75)


class Presses(RuleBasedStateMachine):
    """Any decisions and answers, in any order, by anybody: nothing is settled twice, nothing leaks."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(ride(), ride(name="ride-2"))
        self.settled: dict[UUID, State] = {}
        self.approved: set[UUID] = set()

    @rule(
        agent=st.sampled_from([ROBIN, SAM]),
        transaction=st.sampled_from(["ride-1", "ride-2"]),
        approval=st.sampled_from(["none", "second_agent"]),
        amount=st.sampled_from(["1", "9"]),
    )
    def press(self, agent: UUID, transaction: str, approval: str, amount: str) -> None:
        rules = definition(approval=approval, amount_limit=Amount("5", "EUR"), over_limit="approve")
        waiting = [each for each in self.actions if each.transaction_id == transaction and each.state in OPEN]
        try:
            action = self.desk.press(rules, agent=agent, transaction=transaction, amount=amount)
        except Conflict:
            assert waiting
        else:
            assert not waiting
            assert (action.approver is None) == (approval == "none" and amount == "1") == (action.state in ASKED)

    @rule(
        which=st.integers(0, 20),
        cause=st.sampled_from(list(Cause)),
        by=st.sampled_from([ROBIN, SAM, CHIEF]),
        later=st.booleans(),
    )
    def move(self, which: int, cause: Cause, by: UUID, later: bool) -> None:
        if not self.actions:
            return
        before = self.actions[which % len(self.actions)]
        events = len(self.desk.ledger.events)
        more: dict[str, Any] = {"error": SECRET} if cause in ANSWERS else {}
        if cause is Cause.RETRY or (later and cause in (Cause.ANSWER_PENDING, Cause.NO_ANSWER)):
            more["due_at"] = NOW
        decides = cause in (Cause.APPROVE, Cause.REJECT)
        try:
            after = self.desk.move(before, cause, by if decides else None, supervisor=by == CHIEF, **more)
        except DomainError:
            assert self.desk.ledger.actions[before.action_id] == before
            assert len(self.desk.ledger.events) == events
            return
        assert after.state in (before.state, MOVES.get((before.state, cause)))
        if before.state is State.AWAITING_APPROVAL and after.state is State.PENDING:
            assert by != before.requested_by
            assert by == CHIEF or before.approver == "agent"
            self.approved.add(before.action_id)
        assert len(self.desk.ledger.events) - events == (after.state is not before.state)
        if after.state in SETTLED:
            assert self.settled.setdefault(after.action_id, after.state) is after.state

    @property
    def actions(self) -> list[Action]:
        return list(self.desk.ledger.actions.values())

    @invariant()
    def what_is_settled_stays_so(self) -> None:
        for action in self.actions:
            if action.action_id in self.settled:
                assert action.state is self.settled[action.action_id]
            assert action.due_at is None or action.state in ASKED
            assert action.approver is None or action.state not in ASKED or action.action_id in self.approved

    @invariant()
    def the_customer_hears_no_more_than_it_should(self) -> None:
        for event in self.desk.ledger.events:
            told = msgspec.json.decode(event.body)["action"]
            assert SECRET not in event.body.decode()
            assert (event.usn is not None) == (told["state"] in TOLD)
            assert set(told) <= {"id", "name", "title", "state", "transaction", "message"}


Presses.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestPresses = Presses.TestCase
