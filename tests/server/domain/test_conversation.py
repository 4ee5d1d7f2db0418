"""The status table cell by cell, who wrote last, and tags."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.conversation import MAX_TAGS, SETTING, TRANSITIONS, Cause, Conversation, Status, check_tags
from server.domain.errors import BadRequest

AT = datetime(2030, 1, 1, tzinfo=UTC)


def conversation(status: Status = Status.OPEN) -> Conversation:
    return Conversation(
        app_id=UUID(int=1),
        user_id=UUID(int=2),
        conversation_id=UUID(int=3),
        status=status,
        snoozed_until=AT if status is Status.SNOOZED else None,
        opened_at=AT,
        updated_at=AT,
    )


def expected(cause: Cause, status: Status) -> Status:
    """The rule in words: the customer's words open, the agent's move nothing, setting sets."""
    if cause is Cause.USER_MESSAGE:
        return Status.OPEN
    if cause is Cause.AGENT_MESSAGE:
        return status
    return {setting: wanted for wanted, setting in SETTING.items()}[cause]


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("status", Status)
def test_each_cell_of_the_table(cause: Cause, status: Status) -> None:
    thread = conversation(status)
    changed = thread.move(cause)
    assert thread.status is expected(cause, status) is TRANSITIONS[cause][status]
    assert changed == (status if thread.status is not status else None)
    assert (thread.snoozed_until is not None) <= (thread.status is Status.SNOOZED)


def test_the_table_is_complete() -> None:
    assert set(TRANSITIONS) == set(Cause)
    assert all(set(row) == set(Status) for row in TRANSITIONS.values())
    assert set(SETTING) == set(Status)


def test_an_agents_words_do_not_wake_what_is_snoozed() -> None:
    thread = conversation(Status.SNOOZED)
    thread.move(Cause.AGENT_MESSAGE)
    assert thread.snoozed_until == AT


@given(st.lists(st.sampled_from(["user:a", "agent:b", "agent:c"]), max_size=20))
def test_the_newest_message_of_someone_else_is_known_without_the_log(authors: list[str]) -> None:
    thread = conversation()
    for seq, author in enumerate(authors, 1):
        thread.note_message(seq, author, b"{}")
    for me in ("user:a", "agent:b", "agent:c", "bot:d"):
        others = [seq for seq, author in enumerate(authors, 1) if author != me]
        assert thread.newest_message_not_by(me) == (others[-1] if others else 0)


def test_tags_are_trimmed_lowered_and_kept_once_in_order() -> None:
    assert check_tags([" VIP ", "fare", "vip", "Fare "]) == ["vip", "fare"]
    assert check_tags([]) == []
    assert check_tags(["x" * 50]) == ["x" * 50]
    assert len(check_tags([f"t{number}" for number in range(MAX_TAGS)])) == MAX_TAGS
    assert check_tags(["same"] * (MAX_TAGS + 1)) == ["same"]


@pytest.mark.parametrize("tags", [[""], ["  "], ["x" * 51], ["a\x00b"], [f"t{n}" for n in range(MAX_TAGS + 1)]])
def test_tags_one_cannot_use_are_refused(tags: list[str]) -> None:
    with pytest.raises(BadRequest) as refused:
        check_tags(tags)
    assert refused.value.field == "tags"
