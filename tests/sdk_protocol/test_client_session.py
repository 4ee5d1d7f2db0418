"""The device's end, rule by rule. The test plays the server by hand."""

import msgspec
import pytest
from msgspec import UNSET

from sdk_protocol.client_session import ClientSession
from sdk_protocol.codec import MSGPACK
from sdk_protocol.device_state import DeviceState
from sdk_protocol.effects import (
    Accepted,
    Deliver,
    Disconnect,
    Failed,
    Forget,
    Persist,
    Reconnect,
    Replace,
    Store,
    Transmit,
)
from sdk_protocol.errors import ErrorCode, WrongState
from sdk_protocol.frames import (
    Ack,
    Author,
    Error,
    Foreground,
    Frame,
    Hello,
    History,
    Ok,
    Open,
    OpeningMessage,
    Page,
    Ping,
    Pong,
    Send,
    Signal,
    Snapshot,
    Synced,
)
from sdk_protocol.states import ClientState
from tests.sdk_protocol.device import connected, give, live, refusal, transmitted
from tests.sdk_protocol.samples import CONVERSATION, DEVICE, OTHER, WALL, event, message_id, text, welcome

MINE = Author(type="user", id="u1")


def test_a_new_device_says_hello_without_numbers() -> None:
    session = ClientSession(DEVICE, "jwt", caps=["typing"], foreground=False)
    assert session.connect(0.0, WALL) == [
        Transmit(Hello(token="jwt", device=DEVICE, foreground=False, caps=["typing"], attempt=1))
    ]
    assert session.phase is ClientState.AWAIT_WELCOME


def test_a_known_device_says_where_it_is() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.restore(DeviceState(epoch="e1", usn=7, attempt=3))
    assert transmitted(session.connect(0.0, WALL)) == [
        Hello(token="jwt", device=DEVICE, epoch="e1", usn=7, foreground=True, attempt=4)
    ]
    with pytest.raises(WrongState):
        session.restore(DeviceState())


def test_events_are_stored_in_order_once() -> None:
    session = connected(head=2)
    assert give(session, event(1)) == [Store(event(1), "e1")]
    assert give(session, event(1)) == []
    assert give(session, event(2, kind="from.the.future")) == [Store(event(2, kind="from.the.future"), "e1")]
    assert session.usn == 2


def test_a_gap_makes_it_leave_and_come_back() -> None:
    session = connected()
    (leave,) = give(session, event(2))
    assert isinstance(leave, Disconnect)
    assert give(session, event(1)) == []
    assert session.disconnected(1000, 1.0, 0.5) == [Reconnect(0.25)]


@pytest.mark.parametrize(
    "frame",
    [
        msgspec.structs.replace(event(1), usn=UNSET),
        welcome(),
        Snapshot(usn=1, conversations=[], transactions=[]),
        Synced(usn=1),
    ],
    ids=["no usn", "welcome again", "snapshot unannounced", "synced beyond"],
)
def test_what_the_server_must_not_say_makes_it_leave(frame: Frame) -> None:
    (leave,) = give(connected(), frame)
    assert isinstance(leave, Disconnect)


def test_garbage_makes_it_leave_and_unknown_frames_do_not() -> None:
    session = connected()
    assert session.receive('{"t":"confetti"}', 0.0) == []
    assert give(session, Pong()) == []
    (leave,) = session.receive("nonsense", 0.0)
    assert isinstance(leave, Disconnect)


def test_only_welcome_starts_a_connection() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.connect(0.0, WALL)
    assert session.receive('{"t":"confetti"}', 0.0) == []
    for harmless in (Pong(), Signal(kind="presence", agents_online=1)):
        assert give(session, harmless) == []
    (leave,) = give(session, event(1))
    assert isinstance(leave, Disconnect)


def test_a_snapshot_replaces_everything_and_is_acknowledged() -> None:
    session = ClientSession(DEVICE, "jwt", keep_log=True)
    session.restore(DeviceState(epoch="old", usn=90))
    session.connect(0.0, WALL)
    snapshot = Snapshot(usn=7, conversations=[], transactions=[])
    assert give(session, welcome("snapshot", head=7)) == [Deliver(welcome("snapshot", head=7))]
    assert give(session, snapshot) == [Replace(snapshot, "e1"), Transmit(Ack(usn=7))]
    assert give(session, event(8)) == [Store(event(8), "e1")]
    assert session.log == {CONVERSATION: [event(8)]}


@pytest.mark.parametrize("early", [event(1), Synced(usn=0)])
def test_nothing_may_come_before_the_announced_snapshot(early: Frame) -> None:
    session = ClientSession(DEVICE, "jwt")
    session.connect(0.0, WALL)
    give(session, welcome("snapshot"))
    (leave,) = give(session, early)
    assert isinstance(leave, Disconnect)


@pytest.mark.parametrize(("epoch", "head"), [("e2", 9), ("e1", 4)])
def test_another_history_without_a_snapshot_is_not_believed(epoch: str, head: int) -> None:
    session = ClientSession(DEVICE, "jwt")
    session.restore(DeviceState(epoch="e1", usn=5))
    session.connect(0.0, WALL)
    (leave,) = give(session, welcome(epoch=epoch, head=head))
    assert isinstance(leave, Disconnect)
    assert session.state() == DeviceState(epoch="e1", usn=5, attempt=1)


def test_acks_come_when_synced_and_when_idle() -> None:
    session = connected(head=1)
    give(session, event(1), 1.0)
    assert give(session, Synced(usn=1), 1.0) == [Transmit(Ack(usn=1)), Deliver(Synced(usn=1))]
    give(session, event(2), 2.0)
    assert give(session, event(3), 2.2) == [Store(event(3), "e1")]
    assert session.next_deadline() == 2.25
    assert session.tick(2.24) == []
    assert session.tick(2.25) == [Transmit(Ack(usn=3))]
    assert give(session, Synced(usn=3), 3.0) == [Deliver(Synced(usn=3))]


def test_acks_come_after_32_events_or_128_kib() -> None:
    session = connected(head=100)
    for usn in range(1, 32):
        assert transmitted(give(session, event(usn))) == []
    assert give(session, event(32))[-1] == Transmit(Ack(usn=32))
    large = {"kind": "text", "text": "x" * 16000}
    sent = [transmitted(give(session, event(usn, body=large))) for usn in range(33, 42)]
    assert sent == [[]] * 8 + [[Ack(usn=41)]]


def test_a_message_is_persisted_before_it_is_sent_and_forgotten_when_seen() -> None:
    session = live()
    persist, transmit = session.send(CONVERSATION, message_id(1), text(), 0.0)
    plain = Send(ref=0, conversation=CONVERSATION, id=message_id(1), body=text())
    assert persist == Persist(message_id(1), plain)
    assert transmit == Transmit(msgspec.structs.replace(plain, ref=1))
    ok = Ok(ref=1, conversation=CONVERSATION, seq=1, usn=1)
    assert give(session, ok) == [Accepted(message_id(1), ok)]
    assert session.state().outbox == [plain]
    own = event(1, id=message_id(1), author=MINE)
    assert give(session, own) == [Store(own, "e1"), Forget(message_id(1))]
    assert session.state() == DeviceState(epoch="e1", usn=1, attempt=1)


def test_the_stream_may_be_faster_than_ok() -> None:
    session = live()
    session.send(CONVERSATION, message_id(1), text(), 0.0)
    own = event(1, id=message_id(1), author=MINE)
    assert give(session, own)[-1] == Forget(message_id(1))
    assert give(session, Ok(ref=1, usn=1)) == [Accepted(message_id(1), Ok(ref=1, usn=1))]


def test_what_was_written_offline_goes_out_after_welcome_chained() -> None:
    session = ClientSession(DEVICE, "jwt")
    opening = OpeningMessage(id=message_id(1), body=text())
    assert len(session.open(CONVERSATION, 0.0, topic="ride", transaction="r7", message=opening)) == 1
    assert len(session.send(CONVERSATION, message_id(2), text(), 0.0)) == 1
    session.connect(0.0, WALL)
    first, second = transmitted(give(session, welcome()))
    assert first == Open(ref=1, conversation=CONVERSATION, topic="ride", transaction="r7", message=opening)
    assert (second.id, second.after) == (message_id(2), message_id(1))


def test_after_a_reconnect_the_whole_outbox_goes_out_under_the_same_ids() -> None:
    session = live()
    session.send(CONVERSATION, message_id(1), text(), 0.0)
    session.send(CONVERSATION, message_id(2), text(), 0.0)
    give(session, Ok(ref=1, usn=1))
    kept = msgspec.json.decode(msgspec.json.encode(session.state()), type=DeviceState)
    session.disconnected(1006, 1.0, 0.0)
    restarted = ClientSession(DEVICE, "jwt", codec=MSGPACK)
    restarted.restore(kept)
    for device in (session, restarted):
        device.connect(2.0, WALL + 2)
        again = transmitted(give(device, welcome(head=1), 2.0))
        assert [(frame.id, frame.after) for frame in again] == [
            (message_id(1), UNSET),
            (message_id(2), message_id(1)),
        ]


def test_a_duplicate_that_is_already_stored_is_forgotten() -> None:
    session = ClientSession(DEVICE, "jwt")
    plain = Send(ref=0, conversation=CONVERSATION, id=message_id(1), body=text())
    # The app died between storing its own event and deleting the outbox entry.
    session.restore(DeviceState(epoch="e1", usn=5, outbox=[plain]))
    connected(session, head=5)
    ok = Ok(ref=1, usn=5, duplicate=True)
    assert give(session, ok) == [Accepted(message_id(1), ok), Forget(message_id(1))]


def test_a_snapshot_covers_what_was_accepted() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.send(CONVERSATION, message_id(1), text(), 0.0)
    session.connect(0.0, WALL)
    give(session, welcome("snapshot", head=3))
    give(session, Ok(ref=1, usn=2))
    snapshot = Snapshot(usn=3, conversations=[], transactions=[])
    assert give(session, snapshot) == [Replace(snapshot, "e1"), Forget(message_id(1)), Transmit(Ack(usn=3))]


def test_a_final_refusal_ends_the_message_and_the_next_one_is_chained_anew() -> None:
    session = live()
    session.send(CONVERSATION, message_id(1), text(), 0.0)
    session.send(CONVERSATION, message_id(2), text(), 0.0)
    wrong = refusal(1, ErrorCode.IDEMPOTENCY_CONFLICT)
    assert give(session, wrong) == [Failed(message_id(1), wrong), Forget(message_id(1))]
    assert give(session, refusal(2, ErrorCode.OUT_OF_ORDER), 1.0) == []
    assert session.next_deadline() == 1.5
    (again,) = transmitted(session.tick(1.5))
    assert (again.id, again.after) == (message_id(2), UNSET)


def test_retries_wait_as_told_or_double_and_nothing_overtakes() -> None:
    session = live()
    session.send(CONVERSATION, message_id(1), text(), 0.0)
    assert give(session, refusal(1, ErrorCode.RATE_LIMITED, retry_after_ms=2000), 0.0) == []
    assert len(session.send(CONVERSATION, message_id(2), text(), 0.1)) == 1
    assert [frame.id for frame in transmitted(session.tick(2.0))] == [message_id(1), message_id(2)]
    give(session, refusal(2, ErrorCode.UNAVAILABLE), 3.0)
    assert session.next_deadline() == 4.0
    session.tick(4.0)
    give(session, Ok(ref=4, usn=1), 4.0)
    give(session, refusal(3, ErrorCode.OUT_OF_ORDER), 5.0)
    assert session.next_deadline() == 5.5


def test_attention_is_told_and_decides_about_pings() -> None:
    session = ClientSession(DEVICE, "jwt")
    assert session.show(False, 0.0) == []
    session.connect(0.0, WALL)
    give(session, welcome(expires="unknown"))
    assert session.next_deadline() is None
    assert session.show(True, 5.0) == [Transmit(Foreground(on=True))]
    assert session.next_deadline() == 30.0
    assert session.show(False, 6.0) == [Transmit(Foreground(on=False))]
    assert session.next_deadline() is None


def test_other_questions_are_answered_to_the_application() -> None:
    session = live()
    ask = History(ref=session.next_ref(), conversation=CONVERSATION)
    assert session.ask(ask) == [Transmit(ask)]
    page = Page(ref=ask.ref, conversation=CONVERSATION, events=[event(1)], more=False)
    signal = Signal(kind="typing", conversation=CONVERSATION, on=True)
    for answer in (page, signal, Ok(ref=ask.ref), refusal(ask.ref, ErrorCode.FORBIDDEN)):
        assert give(session, answer) == [Deliver(answer)]
    general = Error(code=ErrorCode.BAD_REQUEST, message="m", retry=False)
    assert give(session, general) == [Deliver(general)]


def test_questions_need_a_connection() -> None:
    with pytest.raises(WrongState, match="ask again after `welcome`"):
        ClientSession(DEVICE, "jwt").ask(Ping())


def test_logs_are_kept_per_conversation_if_asked_for() -> None:
    session = ClientSession(DEVICE, "jwt", keep_log=True)
    connected(session, head=3)
    for usn, conversation in ((1, CONVERSATION), (2, OTHER), (3, CONVERSATION)):
        give(session, event(usn, conversation=conversation))
    assert session.log is not None
    assert {key: [item.usn for item in log] for key, log in session.log.items()} == {CONVERSATION: [1, 3], OTHER: [2]}


def test_an_epoch_counts_only_with_its_snapshot() -> None:
    """The connection breaks between `welcome` and `snapshot`: the next hello must not claim the new history."""
    session = ClientSession(DEVICE, "jwt")
    session.restore(DeviceState(epoch="e1", usn=5))
    session.connect(0.0, WALL)
    give(session, welcome(epoch="another", head=9, resume="snapshot"))
    session.disconnected(1006, 1.0, 0.0)
    assert session.state() == DeviceState(epoch="e1", usn=5, attempt=1)
    assert transmitted(session.connect(2.0, WALL + 2)) == [
        Hello(token="jwt", device=DEVICE, epoch="e1", usn=5, foreground=True, attempt=2)
    ]


def test_a_refusal_of_what_was_seen_meanwhile_takes_nothing_back() -> None:
    session = live()
    session.send(CONVERSATION, message_id(1), text(), 0.0)
    give(session, event(1, id=message_id(1), author=MINE))
    late = refusal(1, ErrorCode.IDEMPOTENCY_CONFLICT)
    assert give(session, late) == [Deliver(late)]
