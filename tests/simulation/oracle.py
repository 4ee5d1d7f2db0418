"""What must hold, watched while it happens. The rules are those of docs/protocol.md, named in each finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from sdk_protocol import frames
from sdk_protocol.closing import CloseCode
from sdk_protocol.errors import ErrorCode
from sdk_protocol.states import ServerState
from tests.simulation.known import KNOWN
from tests.simulation.written import Written, is_same, same

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from server.domain.events import Event
    from server.domain.numbering import Numbered
    from tests.simulation.connection import Connection, Request
    from tests.simulation.database import Logged, Rows
    from tests.simulation.node import Node
    from tests.simulation.phone import Phone
    from tests.simulation.world import World

ANSWERED_WITHIN_S = 10.0
TOKENS = 10
"""More tokens than one a second are not needed, whatever goes wrong."""
IDLE_PAGES = 3
UNHEARD = 3
"""So often in a row a 4400 before `welcome` is tried again."""


class Violation(Exception):
    """`rule` names the promise, the text says what happened."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule


class Oracle:
    def __init__(self, world: World) -> None:
        self._world = world
        self._written: dict[UUID, Written] = {}
        self._places: dict[tuple[int, UUID], int] = {}
        self._newest: dict[tuple[int, UUID], int] = {}
        self._numbers: dict[tuple[str, UUID], tuple[object, object]] = {}
        self._agents_acked: set[UUID] = set()
        self._lost_conversations: set[UUID] = set()
        self._lost_ids: set[UUID] = set()
        self._ratings: dict[UUID, int] = {}
        self.notes: dict[str, str] = {}
        """Findings the run could go on after, by rule; the first of each."""
        self.stops_expected: dict[int, int] = {}
        """How often each phone may still be told to stop because its user was logged out."""

    def note(self, rule: str, text: str) -> None:
        """Wrong, but what follows can still be looked at: if it is known, go on."""
        if rule not in KNOWN:
            raise Violation(rule, text)
        self.notes.setdefault(rule, text)

    # -- the database --------------------------------------------------------------------------------------

    def committing(self, rows: Rows, events: Sequence[Event]) -> None:
        """Numbers are dense, ids are stored once (S2), a sender's messages stand in their order (S3)."""
        usn = rows.usn
        seqs = {id: conversation.seq for id, conversation in rows.conversations.items()}
        seen = set()
        for event in events:
            seq = seqs.get(event.conversation_id, 0)
            if event.seq != seq + 1:
                raise Violation("dense seq", f"{event.seq} is stored after {seq}")
            seqs[event.conversation_id] = event.seq
            if event.usn is not None:
                if event.usn != usn + 1:
                    raise Violation("dense usn", f"{event.usn} is stored after {usn}")
                usn = event.usn
            if event.client_id is None:
                continue
            key = (*event.author.key, event.client_id)
            if key in rows.stored or key in seen:
                raise Violation("S2 once", f"message {event.client_id} is stored a second time, as usn {event.usn}")
            seen.add(key)
            self._in_order(event)

    def _in_order(self, event: Event) -> None:
        assert event.client_id is not None
        written = self._written.get(event.client_id)
        if written is None or event.author.type != "user":
            return
        if written.repeated:
            return
        # An app killed between hearing of it and forgetting it has not heard of it: it sends the message again.
        if written.refused and event.client_id not in written.phone.disk.outbox:
            raise Violation("refused for good", f"message {event.client_id} was refused, and is stored")
        sender = (written.phone.number, event.conversation_id)
        newest = self._newest.get(sender, 0)
        if written.place <= newest:
            raise Violation("S3 order", f"message {written.place} of phone {sender[0]} is stored after {newest}")
        self._newest[sender] = written.place

    def failing_over(self, lost: dict[UUID, list[Logged]], conversations: set[UUID], ids: set[UUID]) -> None:
        """The database forgets the events in `lost` (by user), the `conversations` opened by them and all client
        `ids` in them. Called before the epoch changes."""
        self._lost_conversations |= conversations
        # An agent's page does not send again what was acknowledged.
        self._agents_acked -= ids
        self._lost_ids |= ids
        for logged in lost.values():
            for event, _, _ in logged:
                key = event.client_id or (event.conversation_id if event.kind == "conversation.opened" else None)
                written = None if key is None else self._written.get(key)
                if written is not None and written.message is (event.client_id is not None):
                    written.gone = written.gone or self._has(written.phone, event)

    def _rated(self) -> None:
        given: dict[UUID, int] = {}
        for rows in self._world.db.users.values():
            for event, _, _ in rows.log:
                if event.kind == "rating.given":
                    given[event.conversation_id] = given.get(event.conversation_id, 0) + 1
        for conversation, count in given.items():
            asked = self._ratings.get(conversation, 0)
            if count > asked:
                self.note("a rating once", f"asked {asked} times, stored {count} times")

    def _too_late(self, phone: Phone, event: Event) -> None:
        """The phone has heard of this from a node of the past: if it is no longer stored, nobody is to blame."""
        key = event.client_id or event.conversation_id
        written = self._written.get(key)
        log = self._world.db.users[phone.user_id].log
        if written is not None and written.phone is phone and not any(is_same(event, logged.event) for logged in log):
            written.gone = True

    def _has(self, phone: Phone, event: Event) -> bool:
        """The phone has this event on its disk, in this history or an earlier one."""
        disk, usn = phone.disk, event.usn
        if usn is None or disk.epoch is None or usn > disk.usn:
            return False
        return is_same(self._world.db.history_of(disk.epoch, phone.user_id)[usn - 1].event, event)

    def failed_over(self) -> None:
        """The places of what is left."""
        self._newest.clear()
        for rows in self._world.db.users.values():
            for event, _, _ in rows.log:
                written = None if event.client_id is None else self._written.get(event.client_id)
                if written is not None and event.author.type == "user":
                    self._newest[(written.phone.number, event.conversation_id)] = written.place

    # -- nodes ---------------------------------------------------------------------------------------------

    def answering(self, user_id: UUID, outcome: Numbered) -> None:
        """S2: what is acknowledged is committed, under the numbers that are told."""
        rows = self._world.db.users[user_id]
        usn = outcome.usn
        if usn is None or (usn > rows.usn and self._world.db.epoch > 1):
            return
        if usn > rows.usn:
            raise Violation("S2 commit, then acknowledge", f"usn {usn} is acknowledged, the log ends at {rows.usn}")
        event = rows.log[usn - 1].event
        if (event.conversation_id, event.seq) != (outcome.conversation_id, outcome.seq) and self._world.db.epoch == 1:
            raise Violation("S2 commit, then acknowledge", f"usn {usn} is acknowledged and is something else")

    def finished(self, connection: Connection, request: Request) -> None:
        """Every `ref` is answered within 10 s."""
        node, now = connection.node, self._world.now
        if now - request.asked > ANSWERED_WITHIN_S and node.thawed_at <= request.asked:
            raise Violation("an answer within 10 s", f"ref {request.ref} waited {now - request.asked:.1f} s")

    def offering(self, connection: Connection, logged: Logged) -> None:
        """S1 and S6, counted anew."""
        usn, size, sent = logged.event.usn, logged.wire.size, connection.sent
        assert usn is not None
        assert connection.last_offered is not None
        if usn != connection.last_offered + 1:
            raise Violation("S1 order", f"event {usn} is offered after {connection.last_offered}")
        connection.last_offered = usn
        sent.append((usn, size))
        connection.sent_bytes += size
        cursor = connection.session.cursor
        assert cursor is not None
        if len(sent) > cursor.max_events:
            raise Violation("S6 window", f"{len(sent)} events are offered and not acknowledged")
        if connection.sent_bytes > cursor.max_bytes and len(sent) > 1:
            raise Violation("S6 window", f"{connection.sent_bytes} bytes are offered and not acknowledged")

    def idle_page(self, connection: Connection, pages: int) -> bool:
        """A full page of which nothing was sent: once, because the socket closed meanwhile, but not for ever.

        True if it is time to stop.
        """
        if pages < IDLE_PAGES:
            return False
        text = f"{pages} pages were read one after the other for a session that is {connection.session.state}"
        self.note("no busy circles of pages", text)
        return True

    def acknowledged(self, connection: Connection, usn: int) -> None:
        sent = connection.sent
        while sent and sent[0][0] <= usn:
            connection.sent_bytes -= sent.popleft()[1]

    def ticked(self, node: Node) -> None:
        """Looked at once a second: nobody is forgotten."""
        world = self._world
        patience = 3.5 + 2 * world.climate.database
        for connection in node.connections:
            if connection.closed or connection.session.state is ServerState.CLOSED:
                continue
            for request in connection.requests:
                if world.now - request.asked > ANSWERED_WITHIN_S + 1.0 and node.thawed_at <= request.asked:
                    raise Violation("an answer within 10 s", f"ref {request.ref} is still not answered")
            if connection.welcomed_at is None or connection.user_id is None:
                continue
            rows = world.db.users[connection.user_id]
            since = max(rows.revoked_at, connection.welcomed_at, world.disturbed_until, node.thawed_at)
            if connection.auth_gen < rows.auth_gen and world.now - since > patience:
                raise Violation("S5 revocation", f"a socket outlives its log-in by {world.now - since:.1f} s")

    # -- phones --------------------------------------------------------------------------------------------

    def written(self, phone: Phone, key: UUID, frame: frames.Open | frames.Send) -> None:
        """A phone has put this into its outbox."""
        if key in self._written:
            self._written[key].repeated = True
            return
        message = isinstance(frame, frames.Send) or frame.message is not UNSET
        sender = (phone.number, frame.conversation)
        place = self._places[sender] = self._places.get(sender, 0) + 1
        self._written[key] = Written(phone, frame.conversation, place, message)

    def forgotten_twice(self, phone: Phone, key: UUID) -> None:
        """C2: what was seen in the stream is over; nothing is said of it afterwards."""
        raise Violation("C2 forget once", f"phone {phone.number} is to forget {key}, which it has forgotten before")

    def rating(self, conversation: UUID) -> None:
        """A phone rates a conversation: once asked, at most once stored."""
        self._ratings[conversation] = self._ratings.get(conversation, 0) + 1

    def misused(self, key: UUID) -> None:
        """The id is about to be sent with another body: it must be refused for that, and stay what it was."""
        if key in self._written:
            self._written[key].misused = True

    def greeting(self, phone: Phone, hello: frames.Hello) -> None:
        """C1: a hello speaks of what is stored, or a history would go on where another one ended. C6: it is newer than
        any this device remembers."""
        if hello.attempt is UNSET or hello.attempt <= phone.disk.attempt:
            raise Violation("C6 hello", f"phone {phone.number} says hello {hello.attempt} after {phone.disk.attempt}")
        said = None if hello.epoch is UNSET else hello.epoch
        if said != phone.disk.epoch and hello.usn:
            text = f"phone {phone.number} says {said}:{hello.usn}, its disk has {phone.disk.epoch}:{phone.disk.usn}"
            raise Violation("C1 hello", text)

    def asking_for_token(self, phone: Phone) -> None:
        """The app's own server is asked for tokens, so not all the time."""
        asked = phone.token_asked_at
        asked.append(self._world.now)
        if len(asked) >= TOKENS and asked[-1] - asked[-TOKENS] < TOKENS:
            skew = f"its clock is {phone.skew:+.0f} s off" if phone.skew else "its clock is right"
            text = f"phone {phone.number} asked {TOKENS} times in {asked[-1] - asked[-TOKENS]:.1f} s, {skew}"
            self.note("no busy circles of tokens", text)

    def storing(self, phone: Phone, event: frames.Event, epoch: str) -> None:
        """C1: the next event, and exactly what the log has."""
        usn = event.usn
        if usn != phone.disk.usn + 1:
            raise Violation("C1 no gap", f"phone {phone.number} stores event {usn} after {phone.disk.usn}")
        history = self._world.db.history_of(epoch, phone.user_id)
        if usn > len(history) or not same(event, history[usn - 1]):
            raise Violation("C1 same log", f"phone {phone.number} stores a usn {usn} which the log {epoch} has not")
        if phone.disk.epoch not in (None, epoch) and usn > 1:
            raise Violation("C1 same log", f"phone {phone.number} stores {epoch} on top of {phone.disk.epoch}")
        if epoch != self._world.db.epoch_name:
            self._too_late(phone, history[usn - 1].event)

    def replacing(self, phone: Phone, snapshot: frames.Snapshot, epoch: str) -> None:
        """A snapshot is one consistent read."""
        history = self._world.db.history_of(epoch, phone.user_id)
        if snapshot.usn > len(history):
            raise Violation("snapshot", f"it speaks of usn {snapshot.usn}, the log ends at {len(history)}")
        newest: dict[UUID, int] = {}
        for event, _, _ in history[: snapshot.usn]:
            newest[event.conversation_id] = event.seq
            if epoch != self._world.db.epoch_name:
                self._too_late(phone, event)
        told = {each.id: each.seq for each in snapshot.conversations}
        if told.keys() != newest.keys() or any(told[id] < newest[id] for id in newest):
            raise Violation("snapshot", f"at usn {snapshot.usn} it says {told}, the log {newest}")

    def accepted(self, phone: Phone, key: UUID, ok: frames.Ok) -> None:
        """S2: a repeat gets the first result, for ever."""
        epoch = phone.session.epoch
        assert isinstance(epoch, str)
        first = self._numbers.setdefault((epoch, key), (ok.seq, ok.usn))
        if first != (ok.seq, ok.usn):
            raise Violation("S2 first result", f"message {key} was {first}, and is now {(ok.seq, ok.usn)}")

    def failed(self, phone: Phone, key: UUID, error: frames.Error) -> None:
        """Nothing here is refused for good but what cannot be stored any more."""
        written = self._written[key]
        self._world.count(f"failed {error.code}")
        if error.code is ErrorCode.IDEMPOTENCY_CONFLICT and written.misused:
            return
        if error.code is ErrorCode.NOT_FOUND and written.conversation in self._lost_conversations:
            # Of a message that another phone repeats, only the one who wrote it can say that it is over.
            written.refused = written.refused or (written.phone is phone and not written.gone)
            return
        raise Violation("nothing is refused", f"phone {phone.number} lost message {key}: {error.code} {error.message}")

    def stopped(self, phone: Phone, code: int) -> None:
        """A final close code must have a reason."""
        self._world.count(f"stopped {code}")
        if code == CloseCode.REVOKED and self.stops_expected.get(phone.number, 0) > 0:
            self.stops_expected[phone.number] -= 1
            return
        if code == CloseCode.PROTOCOL_ERROR and phone.unheard > UNHEARD:
            return  # it slept before each of its hellos: nobody can tell that from a client that speaks nonsense
        self.note(f"told {code} for nothing", f"phone {phone.number} is told {code} and stops for ever")

    # -- agents --------------------------------------------------------------------------------------------

    def agent_acked(self, key: UUID, outcome: Numbered, user_id: UUID) -> None:
        self.answering(user_id, outcome)
        stored = self._world.db.users[user_id].stored
        if key in self._lost_ids and all(each[2] != key for each in stored):
            return  # committed and lost while the answer was on its way, from a node that stayed up
        self._agents_acked.add(key)

    # -- the end -------------------------------------------------------------------------------------------

    def unsettled(self) -> str | None:
        """Why it is not over yet; None if everybody has everything."""
        db = self._world.db
        for phone in self._world.phones:
            rows, disk = db.users[phone.user_id], phone.disk
            if not phone.running or phone.session.phase != "live":
                return f"phone {phone.number} is {phone.session.phase if phone.running else 'not running'}"
            # A phone that has nothing has no history either.
            fresh = disk.epoch is None and disk.usn == 0
            if disk.usn != rows.usn or (disk.epoch != db.epoch_name and not fresh):
                return f"phone {phone.number} has {disk.usn} of {disk.epoch}, the log {rows.usn} of {db.epoch_name}"
            if disk.outbox:
                return f"phone {phone.number} has {len(disk.outbox)} messages in its outbox"
        for agent in self._world.agents:
            if agent.pending:
                return f"an agent waits for {agent.pending} answers"
        return None

    def settled(self) -> None:
        """Everything written is stored exactly once, everything stored is on every phone."""
        stored: dict[UUID, int] = {}
        for rows in self._world.db.users.values():
            for event, _, _ in rows.log:
                if event.client_id is not None:
                    stored[event.client_id] = stored.get(event.client_id, 0) + 1
                elif event.kind == "conversation.opened":
                    stored[event.conversation_id] = stored.get(event.conversation_id, 0) + 1
        for rows in self._world.db.users.values():
            stored |= {key[2]: 1 for key in rows.stored if key[2] not in stored}
        self._rated()
        for key, written in self._written.items():
            count = stored.get(key, 0)
            if count > 1:
                raise Violation("S2 once", f"message {key} is stored {count} times")
            if count == 0 and not (written.gone or written.refused):
                raise Violation("nothing is lost", f"message {key} of phone {written.phone.number} is not in the store")
        for key in self._agents_acked:
            if key not in stored:
                raise Violation("nothing is lost", f"an agent's message {key} was acknowledged and is not in the store")
        for phone in self._world.phones:
            log = self._world.db.users[phone.user_id].log[phone.disk.base :]
            if len(log) != len(phone.disk.events) or not all(map(same, phone.disk.events, log)):
                raise Violation("C1 same log", f"phone {phone.number} holds something else than the store")
        for node in self._world.nodes:
            for connections in node.hub.users.values():
                if any(connection.closed for connection in connections):
                    self.note("hub", f"node {node.number} keeps a closed socket in its register")
