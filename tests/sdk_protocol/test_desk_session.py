"""The server's end of an agent's socket: what differs from the user's."""

import pytest

from sdk_protocol.closing import CloseCode
from sdk_protocol.codec import JSON, EncodedEvent
from sdk_protocol.cursor import Judgement
from sdk_protocol.desk_session import DeskSession
from sdk_protocol.errors import WrongState
from sdk_protocol.frames import AgentInfo, DeskHello, DeskWelcome, Pong, Unwatch, Watch
from sdk_protocol.server_end import Closing, Reply, SendPing
from sdk_protocol.states import ServerState
from tests.sdk_protocol.samples import CONVERSATION, OTHER, event, frame

WELCOME = DeskWelcome(agent=AgentInfo(id="a1"), apps=[], ping_interval=25.0)


def encoded(seq: int) -> EncodedEvent:
    return EncodedEvent(event(1, seq=seq).without_usn())


def live() -> DeskSession:
    session = DeskSession(JSON, 0.0)
    session.receive(frame("hello", token="dba_x"), 0.0)
    session.authenticated(WELCOME, 0.0)
    return session


def test_the_way_to_live_and_what_waited() -> None:
    session = DeskSession(JSON, 0.0)
    assert session.receive(frame("hello", token="dba_x"), 0.0) == (DeskHello(token="dba_x"),)
    assert session.receive(frame("watch", ref=1, conversation=CONVERSATION), 0.0) == ()
    assert session.authenticated(WELCOME, 0.1) == [Reply(WELCOME), Watch(ref=1, conversation=CONVERSATION)]
    assert session.state is ServerState.LIVE


def test_hello_comes_first_and_once() -> None:
    first = DeskSession(JSON, 0.0).receive(frame("ping"), 0.0)[-1]
    second = live().receive(frame("hello", token="x"), 0.0)[-1]
    for end in (first, second):
        assert isinstance(end, Closing)
        assert end.code is CloseCode.PROTOCOL_ERROR


def test_ping_is_answered_and_silence_noticed() -> None:
    session = live()
    assert session.receive(frame("ping"), 5.0) == (Reply(Pong()),)
    assert session.next_deadline() == 30.0
    assert session.tick(30.0) == (SendPing(),)
    end = session.tick(40.0)[-1]
    assert isinstance(end, Closing)
    assert end.code is CloseCode.NO_PONG


def test_each_watch_has_a_cursor_of_its_own() -> None:
    session = live()
    session.watch(CONVERSATION, 3)
    assert session.offer(encoded(3)) == (Judgement.STALE, None)
    assert session.offer(encoded(5)) == (Judgement.GAP, None)
    assert session.offer(encoded(4)) == (Judgement.NEXT, encoded(4).frame(JSON))
    assert session.watches == {CONVERSATION: 4}
    other = EncodedEvent(event(1, conversation=OTHER))
    assert session.offer(other)[0] is Judgement.STALE
    session.watch(OTHER)
    assert session.offer(other)[0] is Judgement.NEXT


def test_watching_again_moves_the_cursor() -> None:
    session = live()
    session.watch(CONVERSATION, 3)
    session.watch(CONVERSATION, 1)
    assert session.offer(encoded(2))[0] is Judgement.NEXT


def test_unwatch_ends_it() -> None:
    session = live()
    session.watch(CONVERSATION)
    unwatch = frame("unwatch", conversation=CONVERSATION)
    assert session.receive(unwatch, 1.0) == (Unwatch(conversation=CONVERSATION),)
    assert session.receive(unwatch, 1.0) == (Unwatch(conversation=CONVERSATION),)
    assert session.offer(encoded(1))[0] is Judgement.STALE


def test_nothing_is_offered_after_the_end() -> None:
    session = live()
    session.watch(CONVERSATION)
    session.close(CloseCode.DRAIN, "bye")
    assert session.offer(encoded(1))[0] is Judgement.STALE


def test_there_is_no_sync_on_the_desk() -> None:
    with pytest.raises(WrongState):
        live().authenticated(WELCOME, 0.0)
