"""Both ends against a list: whatever is dropped, delayed, repeated or killed, nothing is lost, doubled or reordered.

Two devices of one user talk to a server whose log is a Python list. Hints get lost, sockets break with messages under
way in both directions, apps die between two effects, the log is trimmed, the database loses its tail and changes its
epoch.
"""

from collections import deque
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import UNSET

from sdk_protocol.client_session import ClientSession
from sdk_protocol.closing import CloseCode
from sdk_protocol.codec import JSON, MSGPACK, Codec, EncodedEvent
from sdk_protocol.cursor import Judgement, ReadCursor
from sdk_protocol.device_state import DeviceState
from sdk_protocol.effects import (
    Disconnect,
    Effect,
    Failed,
    Forget,
    NeedToken,
    Persist,
    Reconnect,
    Replace,
    Stop,
    Store,
    Transmit,
)
from sdk_protocol.errors import ErrorCode
from sdk_protocol.frames import Author, Device, Error, Event, Frame, Hello, Ok, Open, Send, Snapshot
from sdk_protocol.server_end import Closing, Reply
from sdk_protocol.server_session import ServerSession
from sdk_protocol.states import ClientState, ServerState
from tests.sdk_protocol.samples import AT, CONVERSATION, OTHER, WALL, message_id, text, welcome

WINDOW = 5
"""Events offered and not acknowledged: small, so that readers are often full."""


class Phone:
    """One device: its session, what its disk holds, its socket with both directions under way."""

    def __init__(self, number: int, codec: Codec) -> None:
        self.device = Device(id=UUID(int=number + 1), platform="other")
        self.codec = codec
        self.stored: list[Event] = []
        self.epoch: str | None = None
        self.outbox: dict[UUID, Open | Send] = {}
        self.attempt = 0
        self.session = ClientSession(self.device, "jwt", codec=codec)
        self.server: ServerSession | None = None
        self.hello: Hello | None = None
        self.to_server: deque[str | bytes] = deque()
        self.to_client: deque[str | bytes] = deque()

    def restart(self) -> None:
        """The app was killed: only the disk is left."""
        self.session = ClientSession(self.device, "jwt", codec=self.codec)
        epoch = UNSET if self.epoch is None else self.epoch
        outbox = list(self.outbox.values())
        self.session.restore(DeviceState(epoch=epoch, usn=len(self.stored), attempt=self.attempt, outbox=outbox))


class Delivery(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.epoch = 1
        self.log: list[Event] = []
        self.trimmed = 0
        self.busy = False
        self.written: list[tuple[int, UUID, UUID]] = []
        self.gone: set[UUID] = set()
        self.newest_hello = [0, 0]
        self.phones = [Phone(0, JSON), Phone(1, MSGPACK)]

    # The server's application.

    def commit(self, conversation: UUID, author: Author, id: UUID | None) -> Event:
        seq = 1 + sum(event.conversation == conversation for event in self.log)
        event = Event(
            usn=len(self.log) + 1,
            conversation=conversation,
            seq=seq,
            kind="message",
            at=AT,
            author=author,
            id=UNSET if id is None else id,
            body={"kind": "text", "text": "hi"},
        )
        self.log.append(event)
        return event

    def find(self, id: UUID) -> Event | None:
        return next((event for event in self.log if event.id == id), None)

    def take(self, phone: Phone, frame: Frame) -> None:
        """A frame of an authenticated device."""
        if not isinstance(frame, Send):
            return
        known = self.find(frame.id)
        if self.busy:
            code = ErrorCode.UNAVAILABLE
        elif known is None and frame.after is not UNSET and self.find(frame.after) is None:
            code = ErrorCode.OUT_OF_ORDER
        else:
            event = known or self.commit(frame.conversation, Author(type="user", id="u1"), frame.id)
            self.answer(phone, Ok(ref=frame.ref, usn=event.usn, seq=event.seq, duplicate=known is not None))
            return
        self.answer(phone, Error(ref=frame.ref, code=code, message="m", retry=code.retry))

    def answer(self, phone: Phone, frame: Frame) -> None:
        phone.to_client.append(phone.codec.encode(frame))

    def serve(self, phone: Phone, events: object) -> None:
        assert isinstance(events, (list, tuple))
        for event in events:
            match event:
                case Reply(frame):
                    self.answer(phone, frame)
                case Closing(code, _):
                    assert code in (
                        CloseCode.NO_PONG,
                        CloseCode.STALLED,
                        CloseCode.TOKEN_EXPIRED,
                        CloseCode.PROTOCOL_ERROR,
                    )
                    self.cut(phone, code)
                    return
                case Hello():
                    phone.hello = event
                case Frame():
                    self.take(phone, event)

    def offer(self, phone: Phone, usn: int) -> Judgement:
        assert phone.server is not None
        judgement, data = phone.server.offer(EncodedEvent(self.log[usn - 1]), self.now)
        if data is not None:
            phone.to_client.append(data)
        return judgement

    # The device's application.

    def carry_out(self, phone: Phone, effects: list[Effect], most: int | None = None) -> None:
        for effect in effects[:most]:
            match effect:
                case Transmit(frame):
                    if isinstance(frame, Hello):
                        assert isinstance(frame.attempt, int)
                        assert frame.attempt > phone.attempt
                        phone.attempt = frame.attempt
                    phone.to_server.append(phone.codec.encode(frame))
                case Persist(key, frame):
                    phone.outbox[key] = frame
                case Forget(key):
                    del phone.outbox[key]
                case Store(event, epoch):
                    phone.stored.append(event)
                    phone.epoch = epoch
                case Replace(snapshot, epoch):
                    phone.stored = self.log[: snapshot.usn]
                    phone.epoch = epoch
                case Disconnect():
                    self.cut(phone, 1000)
                    return
                case Failed() | Stop():
                    raise AssertionError(f"nothing here is final: {effect}")
                case NeedToken():
                    self.carry_out(phone, phone.session.renew("jwt", self.now))
                case Reconnect(after):
                    assert 0.0 <= after <= 30.0

    def cut(self, phone: Phone, code: int) -> None:
        """The socket is gone for both, with all that was under way."""
        if phone.server is not None:
            phone.server.disconnected()
        phone.server = None
        phone.hello = None
        phone.to_server.clear()
        phone.to_client.clear()
        self.carry_out(phone, phone.session.disconnected(code, self.now, 0.5))

    # What happens.

    which = st.integers(0, 1)

    @initialize()
    def everybody_is_there(self) -> None:
        for which in range(2):
            self.come_up(which)

    @rule(which=which, conversation=st.sampled_from([CONVERSATION, OTHER]), count=st.integers(1, 3))
    def write(self, which: int, conversation: UUID, count: int) -> None:
        phone = self.phones[which]
        for _ in range(count):
            id = message_id(len(self.written) + 1)
            self.written.append((which, conversation, id))
            self.carry_out(phone, phone.session.send(conversation, id, text(), self.now))

    @rule(conversation=st.sampled_from([CONVERSATION, OTHER]), count=st.integers(1, 8))
    def an_agent_writes(self, conversation: UUID, count: int) -> None:
        for _ in range(count):
            self.commit(conversation, Author(type="agent", id="a1"), None)

    @precondition(lambda self: self.somebody_is_offline())
    @rule(which=which)
    def connect(self, which: int) -> None:
        phone = self.phones[which]
        if phone.session.phase is ClientState.OFFLINE:
            phone.server = ServerSession(phone.codec, self.now)
            self.carry_out(phone, phone.session.connect(self.now, WALL + self.now))

    @precondition(lambda self: any(phone.hello is not None for phone in self.phones))
    @rule(which=which)
    def authenticate(self, which: int) -> None:
        phone = self.phones[which]
        hello, server = phone.hello, phone.server
        if hello is None or server is None or server.state is not ServerState.AUTHENTICATING:
            return
        assert isinstance(hello.attempt, int)
        if hello.attempt <= self.newest_hello[which]:
            code, newest = ErrorCode.CONFLICT, self.newest_hello[which]
            self.answer(phone, Error(code=code, message="m", retry=True, field="attempt", attempt=newest))
            self.deliver_to_client(which, 1)
            self.cut(phone, CloseCode.DRAIN)
            return
        self.newest_hello[which] = hello.attempt
        epoch, head = f"e{self.epoch}", len(self.log)
        usn = 0 if hello.usn is UNSET else hello.usn
        continued = hello.epoch in (UNSET, epoch) and self.trimmed <= usn <= head
        snapshot = None if continued else Snapshot(usn=head, conversations=[], transactions=[])
        greeting = welcome(
            "continued" if continued else "snapshot", head=head, epoch=epoch, expires="2027-01-01T00:00:00Z"
        )
        cursor = ReadCursor(usn if continued else head, max_events=WINDOW)
        self.serve(phone, server.authenticated(greeting, cursor, 1e9, self.now, snapshot))

    def come_up(self, which: int) -> None:
        """The whole beginning of a connection without a mishap."""
        self.connect(which)
        self.deliver_to_server(which, 1, busy=False)
        self.authenticate(which)
        self.read_the_log(which)
        self.deliver_to_client(which, 3)

    def somebody_is_offline(self) -> bool:
        return any(phone.session.phase is ClientState.OFFLINE for phone in self.phones)

    @rule(which=which, up=st.integers(1, 4), down=st.integers(1, 8), busy=st.booleans(), again=st.booleans())
    def talk(self, which: int, up: int, down: int, busy: bool, again: bool) -> None:
        """Some of what waits goes through in both directions, so that most of the time there is something to break."""
        if self.phones[which].session.phase is ClientState.OFFLINE:
            self.come_up(which)
        self.deliver_to_server(which, up, busy)
        if again:
            self.deliver_to_server(which, up, busy=False)
        self.read_the_log(which)
        self.deliver_to_client(which, down)

    @precondition(lambda self: any(phone.to_server for phone in self.phones))
    @rule(which=which, count=st.integers(1, 6), busy=st.booleans())
    def deliver_to_server(self, which: int, count: int, busy: bool) -> None:
        """`busy`: the server turns away what it gets meanwhile."""
        self.busy = busy
        phone = self.phones[which]
        for _ in range(count):
            if phone.to_server and phone.server is not None:
                self.serve(phone, phone.server.receive(phone.to_server.popleft(), self.now))

    @precondition(lambda self: any(phone.to_client for phone in self.phones))
    @rule(which=which, count=st.integers(1, 6))
    def deliver_to_client(self, which: int, count: int) -> None:
        phone = self.phones[which]
        for _ in range(count):
            if phone.to_client:
                self.carry_out(phone, phone.session.receive(phone.to_client.popleft(), self.now))

    @precondition(lambda self: self.log)
    @rule(which=which, back=st.integers(0, 8))
    def hint(self, which: int, back: int) -> None:
        """A wake-up that carries an event: the newest, an old one, one after a lost one."""
        phone = self.phones[which]
        if phone.server is not None and phone.server.cursor is not None:
            self.offer(phone, max(1, len(self.log) - back))

    @rule(which=which, ahead=st.sampled_from([0, 0, -1, -4, 2, 3]))
    def server_forgets_the_rule(self, which: int, ahead: int) -> None:
        """An event is repeated, or one is left out: the device must not believe it."""
        phone = self.phones[which]
        if phone.server is not None and phone.server.cursor is not None:
            usn = phone.server.cursor.offered + ahead
            if 1 <= usn <= len(self.log):
                self.answer(phone, self.log[usn - 1])

    def read_the_log(self, which: int) -> None:
        phone = self.phones[which]
        if phone.server is None or phone.server.cursor is None:
            return
        cursor = phone.server.cursor
        while cursor.offered < len(self.log):
            if self.offer(phone, cursor.offered + 1) is not Judgement.NEXT:
                return
        self.answer(phone, phone.server.synced().frame)

    @rule(
        which=which,
        kind=st.sampled_from(["breaks", "breaks", "killed", "killed", "restored", "trimmed", "lost"]),
        size=st.integers(0, 4),
    )
    def disaster(self, which: int, kind: str, size: int) -> None:
        match kind:
            case "breaks":
                self.connection_breaks(which)
            case "killed":
                self.app_is_killed_while_it_works(which, size)
            case "restored":
                self.phones[which].attempt = min(self.phones[which].attempt, size)
                self.app_is_killed_while_it_works(which, size)
            case "trimmed":
                self.trimmed = len(self.log)
            case _:
                self.database_loses_its_tail(size)

    def connection_breaks(self, which: int) -> None:
        if self.phones[which].session.phase is not ClientState.OFFLINE:
            self.cut(self.phones[which], 1006)

    def app_is_killed_while_it_works(self, which: int, effects: int) -> None:
        phone = self.phones[which]
        if phone.to_client:
            done = phone.session.receive(phone.to_client.popleft(), self.now)
            self.carry_out(phone, [effect for effect in done if not isinstance(effect, Disconnect)], effects)
        phone.server = None
        phone.hello = None
        phone.to_server.clear()
        phone.to_client.clear()
        phone.restart()

    @rule(seconds=st.sampled_from([0.1, 0.3, 1.0, 2.0, 26.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for phone in self.phones:
            self.carry_out(phone, phone.session.tick(self.now))
            if phone.server is not None:
                self.serve(phone, phone.server.tick(self.now))

    def database_loses_its_tail(self, lost: int) -> None:
        kept = max(0, len(self.log) - lost)
        unsent = {id for phone in self.phones for id in phone.outbox}
        # A device that has seen its message in the stream has forgotten it, rightly.
        self.gone |= {event.id for event in self.log[kept:] if event.id is not UNSET and event.id not in unsent}
        del self.log[kept:]
        self.trimmed = min(self.trimmed, kept)
        self.epoch += 1
        for which in range(2):
            self.connection_breaks(which)

    # What must hold.

    @invariant()
    def devices_hold_a_prefix_of_the_log(self) -> None:
        for phone in self.phones:
            assert phone.session.usn >= len(phone.stored)
            if phone.epoch == f"e{self.epoch}":
                assert phone.stored == self.log[: len(phone.stored)]

    @invariant()
    def nothing_is_doubled(self) -> None:
        ids = [event.id for event in self.log if event.id is not UNSET]
        assert len(ids) == len(set(ids))

    @invariant()
    def messages_stand_in_the_order_in_which_they_were_written(self) -> None:
        place = {event.id: event.seq for event in self.log if event.id is not UNSET}
        for which in range(2):
            for conversation in (CONVERSATION, OTHER):
                seqs = [place[id] for by, at, id in self.written if (by, at) == (which, conversation) and id in place]
                assert seqs == sorted(seqs)

    @invariant()
    def nobody_is_offered_more_than_fits(self) -> None:
        for phone in self.phones:
            if phone.server is not None and phone.server.cursor is not None:
                assert phone.server.cursor.offered - phone.server.cursor.acked <= WINDOW

    def teardown(self) -> None:
        """When the storm is over everything arrives."""
        for _ in range(60):
            for which in range(2):
                self.connect(which)
                for _ in range(2):
                    self.deliver_to_server(which, 100, busy=False)
                    self.authenticate(which)
                    self.read_the_log(which)
                    self.deliver_to_client(which, 100)
            if all(phone.stored == self.log and not phone.outbox and not phone.to_server for phone in self.phones):
                break
            self.time_passes(1.0)
        for phone in self.phones:
            assert phone.stored == self.log
            assert phone.outbox == {}
            assert phone.session.state() == DeviceState(
                epoch=f"e{self.epoch}", usn=len(self.log), attempt=phone.attempt
            )
            # A device that never stored anything has nothing to remember an epoch for.
            assert phone.epoch == f"e{self.epoch}" or not self.log
        assert {id for _, _, id in self.written} - self.gone == {
            e.id for e in self.log if e.id is not UNSET
        } - self.gone


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=100, stateful_step_count=60, deadline=None, derandomize=True)
