"""The server's end of a user's socket, rule by rule."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from sdk_protocol.closing import CloseCode
from sdk_protocol.codec import JSON, MSGPACK, EncodedEvent
from sdk_protocol.cursor import Judgement, ReadCursor
from sdk_protocol.errors import ErrorCode, WrongState
from sdk_protocol.frames import Ack, Drain, Error, Foreground, Hello, Pong, Read, Refresh, Send, Snapshot, Synced
from sdk_protocol.server_end import Closing, Reply, SendPing
from sdk_protocol.server_session import ServerSession
from sdk_protocol.states import ServerState
from tests.sdk_protocol.samples import event, frame, hello, message_id, send, welcome


def live(*, foreground: bool = True, offered: int = 0, expires: float = 10_000.0) -> ServerSession:
    session = ServerSession(JSON, 0.0)
    session.receive(hello(foreground=foreground), 0.0)
    session.authenticated(welcome(), ReadCursor(offered), expires, 0.0)
    session.synced()
    return session


def only(events: Sequence[Any]) -> Any:
    assert len(events) == 1
    return events[0]


def closing(events: Sequence[Any]) -> CloseCode:
    last = events[-1]
    assert isinstance(last, Closing)
    return last.code


def encoded(usn: int, words: str = "hello") -> EncodedEvent:
    return EncodedEvent(event(usn, body={"kind": "text", "text": words}))


def test_the_way_to_live() -> None:
    session = ServerSession(JSON, 0.0)
    assert isinstance(only(session.receive(hello(usn=4, epoch="e1"), 1.0)), Hello)
    assert session.authenticated(welcome(head=6), ReadCursor(4), 1000.0, 2.0) == [Reply(welcome(head=6))]
    assert session.state is ServerState.SYNCING
    assert session.offer(encoded(5), 2.0) == (Judgement.NEXT, encoded(5).frame(JSON))
    assert session.offer(encoded(6), 2.0)[0] is Judgement.NEXT
    assert session.synced() == Reply(Synced(usn=6))
    assert str(session.state) == "live"
    assert isinstance(only(session.receive(send(), 3.0)), Send)


def test_a_snapshot_goes_out_right_after_welcome() -> None:
    session = ServerSession(MSGPACK, 0.0)
    session.receive(MSGPACK.encode(JSON.decode_user(hello())), 1.0)
    snapshot = Snapshot(usn=9, conversations=[], transactions=[])
    replies = session.authenticated(welcome("snapshot", head=9), ReadCursor(9), 1000.0, 2.0, snapshot)
    assert replies == [Reply(welcome("snapshot", head=9)), Reply(snapshot)]
    judgement, data = session.offer(encoded(10), 2.0)
    assert (judgement, data) == (Judgement.NEXT, encoded(10).frame(MSGPACK))


@pytest.mark.parametrize("first", [send(), frame("ping"), "[]", "nonsense", b"{}"])
def test_the_first_frame_must_be_hello(first: str | bytes) -> None:
    session = ServerSession(JSON, 0.0)
    assert closing(session.receive(first, 1.0)) is CloseCode.PROTOCOL_ERROR
    assert session.state is ServerState.CLOSED
    assert session.receive(hello(), 1.0) == ()


@pytest.mark.parametrize(("first", "field"), [(hello(device={}), "device.id"), (frame("teleport", ref=1), "t")])
def test_a_bad_first_frame_is_explained_before_closing(first: str, field: str) -> None:
    answer, end = ServerSession(JSON, 0.0).receive(first, 1.0)
    assert isinstance(answer, Reply)
    assert isinstance(answer.frame, Error)
    assert answer.frame.field == field
    assert closing([end]) is CloseCode.PROTOCOL_ERROR


def test_hello_must_come_within_ten_seconds() -> None:
    session = ServerSession(JSON, 100.0)
    assert session.next_deadline() == 110.0
    assert session.tick(109.9) == ()
    assert closing(session.tick(110.0)) is CloseCode.PROTOCOL_ERROR
    assert session.next_deadline() is None
    assert session.tick(1000.0) == ()


def test_a_second_hello_breaks_the_protocol_in_any_state() -> None:
    waiting = ServerSession(JSON, 0.0)
    waiting.receive(hello(), 0.0)
    assert closing(waiting.receive(hello(), 0.0)) is CloseCode.PROTOCOL_ERROR
    assert closing(live().receive(hello(), 0.0)) is CloseCode.PROTOCOL_ERROR


def test_frames_sent_before_welcome_wait_in_order() -> None:
    session = ServerSession(JSON, 0.0)
    session.receive(hello(foreground=False), 0.0)
    assert session.next_deadline() is None
    for number in (1, 2):
        assert session.receive(send(id=message_id(number)), 0.1) == ()
    assert session.receive(frame("ping"), 0.1) == ()
    assert session.receive(frame("foreground", on=True), 0.1) == ()
    assert session.receive(frame("ack", usn=7), 0.1) == ()
    answered = session.authenticated(welcome(), ReadCursor(7), 1000.0, 0.2)
    assert [type(item) for item in answered] == [Reply, Send, Send, Reply, Foreground, Ack]
    assert [item.id for item in answered if isinstance(item, Send)] == [message_id(1), message_id(2)]
    assert session.foreground


@pytest.mark.parametrize(("count", "words"), [(64, "hi"), (4, "x" * 16000)])
def test_only_so_much_waits_and_nothing_overtakes_what_was_turned_away(count: int, words: str) -> None:
    session = ServerSession(JSON, 0.0)
    session.receive(hello(), 0.0)
    for number in range(count):
        assert session.receive(send(words, id=message_id(number)), 0.1) == ()
    for late in (send("x" * 16000, ref=8), send(ref=9)):
        refused = only(session.receive(late, 0.1))
        assert isinstance(refused.frame, Error)
        assert (refused.frame.code, refused.frame.retry) == (ErrorCode.UNAVAILABLE, True)
        assert refused.frame.ref in (8, 9)
    assert len(session.authenticated(welcome(), ReadCursor(0), 1000.0, 0.2)) == count + 1


def test_a_bad_frame_is_answered_and_the_socket_kept() -> None:
    session = live()
    answer = only(session.receive(send(" ", ref=5), 1.0))
    assert isinstance(answer.frame, Error)
    assert (answer.frame.ref, answer.frame.field) == (5, "body.text")
    assert session.state is ServerState.LIVE


def test_a_malformed_frame_closes_with_a_reason_that_fits() -> None:
    end = only(live().receive('{"t":"' + "é" * 500, 1.0))
    assert end.code is CloseCode.PROTOCOL_ERROR
    assert 0 < len(end.reason.encode()) <= 123


def test_a_reason_is_cut_between_characters() -> None:
    end = only(live().close(CloseCode.REVOKED, "é" * 100))
    assert end.reason == "é" * 61


def test_ping_is_answered_and_foreground_followed() -> None:
    session = live()
    assert only(session.receive(frame("ping"), 1.0)) == Reply(Pong())
    assert only(session.receive(frame("foreground", on=False), 1.0)) == Foreground(on=False)
    assert not session.foreground


def test_events_go_out_in_order_or_not_at_all() -> None:
    session = live(offered=3)
    assert session.offer(encoded(5), 1.0) == (Judgement.GAP, None)
    assert session.offer(encoded(3), 1.0) == (Judgement.STALE, None)
    assert session.offer(encoded(4), 1.0)[0] is Judgement.NEXT
    assert session.offer(encoded(4), 1.0)[0] is Judgement.STALE


def test_an_ack_makes_room_and_is_passed_on_unless_late() -> None:
    session = live()
    for usn in range(1, 65):
        assert session.offer(encoded(usn), 1.0)[0] is Judgement.NEXT
    assert session.offer(encoded(65), 1.0) == (Judgement.FULL, None)
    assert only(session.receive(frame("ack", usn=10), 2.0)) == Ack(usn=10)
    assert session.receive(frame("ack", usn=9), 2.0) == ()
    assert session.offer(encoded(65), 2.0)[0] is Judgement.NEXT


def test_an_ack_beyond_what_was_offered_is_a_bad_request() -> None:
    session = live(offered=2)
    answer = only(session.receive(frame("ack", usn=3), 1.0))
    assert isinstance(answer.frame, Error)
    assert (answer.frame.code, answer.frame.field) == (ErrorCode.BAD_REQUEST, "usn")
    assert session.state is ServerState.LIVE


def test_nothing_is_offered_before_welcome_and_after_the_end() -> None:
    early = ServerSession(JSON, 0.0)
    assert early.offer(encoded(1), 0.0) == (Judgement.STALE, None)
    late = live()
    late.disconnected()
    assert late.offer(encoded(1), 0.0) == (Judgement.STALE, None)


def test_sixty_seconds_without_progress_close_4001() -> None:
    session = live(foreground=False)
    session.offer(encoded(1), 5.0)
    session.offer(encoded(2), 6.0)
    assert session.next_deadline() == 65.0
    session.receive(frame("ack", usn=1), 30.0)
    assert session.tick(65.0) == ()
    session.receive(frame("ping"), 89.0)  # alive, but nothing stored
    assert closing(session.tick(90.0)) is CloseCode.STALLED


def test_an_expired_token_is_tolerated_for_25_seconds() -> None:
    session = live(foreground=False, expires=100.0)
    assert session.next_deadline() == 125.0
    assert session.tick(124.9) == ()
    session.refreshed(200.0)
    assert session.tick(125.0) == ()
    assert closing(session.tick(225.0)) is CloseCode.TOKEN_EXPIRED


def test_silence_in_the_foreground_is_pinged_and_then_closed() -> None:
    session = live()
    assert session.next_deadline() == 25.0
    assert session.tick(24.9) == ()
    assert session.tick(25.0) == (SendPing(),)
    assert session.next_deadline() == 35.0
    assert session.tick(30.0) == ()
    assert closing(session.tick(35.0)) is CloseCode.NO_PONG


@pytest.mark.parametrize("sign", ["pong", "frame", "bad frame"])
def test_any_traffic_counts_as_life(sign: str) -> None:
    session = live()
    session.tick(25.0)
    match sign:
        case "pong":
            session.heard(30.0)
        case "frame":
            session.receive(frame("read", conversation=message_id(1), seq=1), 30.0)
        case _:
            session.receive(frame("read"), 30.0)
    assert session.tick(35.0) == ()
    assert session.next_deadline() == 55.0
    assert session.tick(55.0) == (SendPing(),)


def test_a_background_socket_is_not_pinged() -> None:
    session = live(foreground=False, expires=1000.0)
    assert session.tick(900.0) == ()
    assert session.next_deadline() == 1025.0


def test_a_ping_outstanding_does_not_hide_the_other_deadlines() -> None:
    session = live(expires=5.0)
    session.tick(25.0)
    assert session.next_deadline() == 30.0
    assert closing(session.tick(30.0)) is CloseCode.TOKEN_EXPIRED


def test_life_is_not_progress() -> None:
    session = live()
    session.offer(encoded(1), 0.0)
    session.heard(40.0)
    assert session.tick(59.9) == ()
    assert closing(session.tick(60.0)) is CloseCode.STALLED


def test_draining_lets_work_finish() -> None:
    session = live()
    assert only(session.drain(1500)) == Reply(Drain(reconnect_after_ms=1500))
    assert session.state is ServerState.DRAINING
    assert isinstance(only(session.receive(send(), 1.0)), Send)
    assert session.offer(encoded(1), 1.0)[0] is Judgement.NEXT
    assert session.synced() == Reply(Synced(usn=1))
    assert only(session.drain(100)) == Reply(Drain(reconnect_after_ms=100))
    assert closing(session.close(CloseCode.DRAIN, "bye")) is CloseCode.DRAIN
    assert session.close(CloseCode.REVOKED, "again") == ()
    assert session.drain(1) == ()


def test_draining_closes_who_is_not_in_yet() -> None:
    for start in ((), (hello(),)):
        session = ServerSession(JSON, 0.0)
        for data in start:
            session.receive(data, 0.0)
        assert closing(session.drain(1000)) is CloseCode.DRAIN


def test_what_arrives_after_the_end_is_ignored() -> None:
    session = live()
    session.disconnected()
    session.disconnected()
    assert session.receive(send(), 1.0) == ()
    assert session.next_deadline() is None


def test_calls_out_of_turn_are_the_programs_mistake() -> None:
    session = ServerSession(JSON, 0.0)
    with pytest.raises(WrongState):
        session.synced()
    with pytest.raises(WrongState):
        session.authenticated(welcome(), ReadCursor(0), 1.0, 0.0)
    with pytest.raises(WrongState):
        live().authenticated(welcome(), ReadCursor(0), 1.0, 0.0)


def test_other_frames_are_the_applications() -> None:
    session = live()
    conversation = UUID(int=1)
    assert only(session.receive(frame("read", conversation=conversation, seq=3), 1.0)) == Read(
        conversation=conversation, seq=3
    )
    assert only(session.receive(frame("refresh", ref=1, token="t"), 1.0)) == Refresh(ref=1, token="t")
