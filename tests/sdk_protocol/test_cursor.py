"""S1 and S6: order, budget and stall of one reader."""

import pytest

from sdk_protocol.cursor import Judgement, ReadCursor
from sdk_protocol.errors import BadFrame, ErrorCode, WrongState


def test_only_the_next_event_is_next() -> None:
    cursor = ReadCursor(5)
    assert [cursor.judge(usn) for usn in (4, 5, 6, 7)] == ["stale", "stale", "next", "gap"]
    cursor.sent(6, 10, 0.0)
    assert [cursor.judge(usn) for usn in (6, 7, 8)] == ["stale", "next", "gap"]


@pytest.mark.parametrize("usn", [4, 5, 7])
def test_sending_out_of_order_is_refused(usn: int) -> None:
    with pytest.raises(WrongState, match="in order"):
        ReadCursor(5).sent(usn, 1, 0.0)


def test_at_most_so_many_events_are_owed() -> None:
    cursor = ReadCursor(0, max_events=3)
    rooms = [cursor.room]
    for usn in (1, 2, 3):
        cursor.sent(usn, 1, 0.0)
        rooms.append(cursor.room)
    assert rooms == [True, True, True, False]
    assert str(cursor.judge(4)) == "full"
    assert cursor.ack(1, 0.0)
    assert cursor.room
    assert str(cursor.judge(4)) == "next"


def test_at_most_so_many_bytes_are_owed() -> None:
    cursor = ReadCursor(0, max_bytes=100)
    cursor.sent(1, 60, 0.0)
    assert cursor.judge(2, 40) is Judgement.NEXT
    assert cursor.judge(2, 41) is Judgement.FULL
    cursor.sent(2, 40, 0.0)
    assert not cursor.room
    cursor.ack(1, 0.0)
    assert cursor.unacked_bytes == 40
    assert cursor.judge(3, 60) is Judgement.NEXT


def test_an_event_larger_than_the_budget_goes_out_alone() -> None:
    cursor = ReadCursor(0, max_bytes=100)
    assert cursor.judge(1, 1000) is Judgement.NEXT
    cursor.sent(1, 1000, 0.0)
    assert cursor.judge(2, 1) is Judgement.FULL
    cursor.ack(1, 0.0)
    assert cursor.judge(2, 1) is Judgement.NEXT


def test_acks_are_cumulative_and_late_ones_are_ignored() -> None:
    cursor = ReadCursor(10)
    for usn in range(11, 16):
        cursor.sent(usn, usn, 0.0)
    assert (cursor.offered, cursor.acked, cursor.unacked_bytes) == (15, 10, 65)
    assert cursor.ack(13, 1.0)
    assert (cursor.acked, cursor.unacked_bytes) == (13, 29)
    assert not cursor.ack(12, 2.0)
    assert cursor.ack(13, 2.0)
    assert (cursor.acked, cursor.unacked_bytes) == (13, 29)


def test_an_ack_of_what_was_never_offered_changes_nothing() -> None:
    cursor = ReadCursor(3)
    cursor.sent(4, 1, 0.0)
    with pytest.raises(BadFrame) as caught:
        cursor.ack(5, 1.0)
    assert (caught.value.code, caught.value.field) == (ErrorCode.BAD_REQUEST, "usn")
    assert cursor.acked == 3


def test_stalled_counts_from_the_last_progress_while_something_is_owed() -> None:
    cursor = ReadCursor(0)
    assert not cursor.stalled(1000.0)
    waiting_since = [cursor.progress_at]
    cursor.sent(1, 1, 10.0)
    cursor.sent(2, 1, 50.0)
    assert [*waiting_since, cursor.progress_at] == [None, 10.0]
    assert not cursor.stalled(69.9)
    assert cursor.stalled(70.0)
    cursor.ack(1, 65.0)
    assert not cursor.stalled(124.9)
    cursor.ack(1, 120.0)  # nothing new: no progress
    assert cursor.stalled(125.0)
    assert not cursor.stalled(125.0, after=61.0)
    cursor.ack(2, 126.0)
    assert not cursor.stalled(1000.0)
