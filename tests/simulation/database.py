"""PostgreSQL as dictionaries: rows locked until the commit, commits that are atomic, reads that may be a moment old.

What a batch loads is what `storage.batch` loads. Commits can be undone from the end, as a failover that loses the
newest ones does; then the epoch changes.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec

from sdk_protocol.codec import JSON, EncodedEvent
from server.domain.errors import StaleHello
from server.domain.intents import AddNote, MarkRead, Open, Post, Rate
from server.domain.numbering import ClientKey, Ledger, Stored, client_key, opening_key
from server.gateway.translate import encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sdk_protocol import frames
    from server.domain.conversation import Conversation
    from server.domain.events import Event
    from server.domain.intents import AnyIntent
    from server.domain.transaction import Snapshot
    from tests.simulation.timeline import Actor
    from tests.simulation.world import World

APP = UUID(int=1)
TRIMMED = b'{"trimmed":true}'


class Logged(NamedTuple):
    """One committed event the user may see: as hints and reads carry it, and as a phone must find it."""

    event: Event
    wire: EncodedEvent
    expected: frames.Event


class Standing(NamedTuple):
    """What the sweep asks of each user (S5)."""

    usn: int
    auth_gen: int
    trimmed_usn: int


class Undo(NamedTuple):
    """How to take a commit back."""

    rows: Rows
    usn: int
    conversations: dict[UUID, Conversation | None]
    stored: list[ClientKey]
    rated: dict[UUID, tuple[int, str | None] | None]


class Waiting(NamedTuple):
    """Somebody who wants rows that somebody else has locked. `life`: the owner's when it asked."""

    users: Sequence[UUID]
    holder: object
    owner: Actor
    life: int
    granted: Callable[[], None]
    lost: Callable[[], None]


class Rows:
    """All rows of one end user."""

    def __init__(self, user_id: UUID) -> None:
        self.user_id = user_id
        self.usn = 0
        self.auth_gen = 0
        self.revoked_at = 0.0
        self.trimmed_usn = 0
        """Up to here the words may be gone (retention); numbers and ids stay."""
        self.conversations: dict[UUID, Conversation] = {}
        self.log: list[Logged] = []
        self.stored: dict[ClientKey, Stored] = {}
        self.openings: dict[UUID, Stored] = {}
        self.generations: dict[UUID, int] = {}
        self.snapshots: dict[UUID, Snapshot] = {}
        self.rated: dict[UUID, tuple[int, str | None]] = {}


class Batch(Ledger):
    """A ledger that belongs to these rows."""

    __slots__ = ("rows",)

    def __init__(self, rows: Rows, now: datetime, history: str) -> None:
        super().__init__(APP, rows.user_id, rows.usn, now, history)
        self.rows = rows


class Database:
    """`away`: it does not answer. `crashes`: how often it went down; what was not committed by then never is."""

    def __init__(self, world: World, users: Sequence[UUID]) -> None:
        self._world = world
        self.users = {user_id: Rows(user_id) for user_id in users}
        self.directory: dict[UUID, UUID] = {}
        self.attempts: dict[UUID, int] = {}
        """The newest hello of each device."""
        self.away = False
        self.crashes = 0
        self.epoch = 1
        self.past: dict[tuple[str, UUID], list[Logged]] = {}
        """Logs of earlier epochs, as devices that have not come back since still hold them."""
        self._commits: list[list[Undo]] = []
        self._locked: dict[UUID, object] = {}
        self._waiting: list[Waiting] = []

    @property
    def epoch_name(self) -> str:
        return f"e{self.epoch}"

    # -- transactions --------------------------------------------------------------------------------------

    def lock(
        self,
        users: Sequence[UUID],
        holder: object,
        owner: Actor,
        granted: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        """Call `granted` when `holder` has the rows of `users`; nobody else has them until `release`. `lost`: the
        database went down before."""
        if any(user in self._locked for user in users):
            self._world.count("row locks waited for")
            self._waiting.append(Waiting(users, holder, owner, owner.life, granted, lost))
            return
        self._take(users, holder)
        granted()

    def release(self, holder: object) -> None:
        """The transaction is over, one way or the other."""
        if self._waiting:
            self._waiting = [each for each in self._waiting if each.holder is not holder]
        held = [user for user, by in self._locked.items() if by is holder]
        for user in held:
            del self._locked[user]
        if held and self._waiting:
            self._grant()

    def _take(self, users: Sequence[UUID], holder: object) -> None:
        for user in users:
            self._locked[user] = holder

    def _grant(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.owner.life != each.life:
                continue
            if any(user in self._locked for user in each.users):
                self._waiting.append(each)
            else:
                self._take(each.users, each.holder)
                self._world.at(0.0, each.owner, each.granted)

    def load(self, intents: Sequence[AnyIntent], now: datetime) -> dict[UUID, Batch]:
        """Ledgers that know what `intents` need. The rows must be locked."""
        ledgers: dict[UUID, Batch] = {}
        for intent in intents:
            rows = self.users[intent.user_id]
            ledger = ledgers.get(intent.user_id)
            if ledger is None:
                ledger = ledgers[intent.user_id] = Batch(rows, now, self.epoch_name)
            conversation_id: UUID = intent.conversation_id  # type: ignore[union-attr]  # no PutTransaction comes here
            known = rows.conversations.get(conversation_id)
            if known is not None and conversation_id not in ledger.conversations:
                # Its lists are replaced when they change, never changed in place: a shallow copy is one of its own.
                ledger.conversations[conversation_id] = copy.copy(known)
            match intent:
                case Post(message=message, after=after):
                    _keep(ledger, rows, client_key(message.author, message.id))
                    if after is not None:
                        _keep(ledger, rows, client_key(message.author, after))
                case AddNote(message=message):
                    _keep(ledger, rows, client_key(message.author, message.id))
                case Open(message=first):
                    if first is not None:
                        _keep(ledger, rows, client_key(first.author, first.id))
                    if self.directory.get(conversation_id, intent.user_id) != intent.user_id:
                        ledger.foreign.add(conversation_id)
                    elif conversation_id in rows.openings:
                        ledger.stored[opening_key(conversation_id)] = rows.openings[conversation_id]
                case Rate():
                    if conversation_id in rows.rated:
                        ledger.rated[conversation_id] = rows.rated[conversation_id]
                case MarkRead(reader=reader, seq=seq):
                    if known is not None and seq < known.seq:
                        newer = sum(
                            logged.event.kind == "message"
                            and logged.event.conversation_id == conversation_id
                            and logged.event.seq > seq
                            and (logged.event.author.type == "user") == (reader == "agent")
                            for logged in rows.log
                        )
                        ledger.last_counts[(conversation_id, reader, seq)] = newer
        return ledgers

    def commit(self, ledgers: Sequence[Batch]) -> dict[UUID, list[Logged]]:
        """Everything or nothing. Returns what the users may see of it, by user."""
        undo: list[Undo] = []
        visible: dict[UUID, list[Logged]] = {}
        for ledger in ledgers:
            if not ledger.touched:
                continue
            rows = ledger.rows
            before = {conversation_id: rows.conversations.get(conversation_id) for conversation_id in ledger.touched}
            written = []
            logged: list[Logged] = []
            for event in ledger.events:
                if event.client_id is not None:
                    key = client_key(event.author, event.client_id)
                    written.append(key)
                if event.usn is not None:
                    logged.append(_logged(event))
            self._world.oracle.committing(rows, ledger.events)
            rated = {conversation_id: rows.rated.get(conversation_id) for conversation_id in ledger.ratings}
            undo.append(Undo(rows, rows.usn, before, written, rated))
            for key in written:
                rows.stored[key] = ledger.stored[key]
            rows.log += logged
            rows.usn = ledger.usn
            rows.conversations.update(ledger.touched)
            rows.snapshots.update(ledger.snapshots)
            rows.rated.update({id: (rate.score, rate.comment) for id, rate in ledger.ratings.items()})
            for conversation_id in ledger.opened:
                self.directory[conversation_id] = rows.user_id
                rows.openings[conversation_id] = ledger.stored[opening_key(conversation_id)]
            if logged:
                visible[rows.user_id] = logged
        if undo:
            self._commits.append(undo)
        return visible

    def trim(self, user_id: UUID, usn: int) -> None:
        """Retention: the words up to `usn` go, the numbers stay (`storage/sql/queries/retention.sql`)."""
        rows = self.users[user_id]
        for at in range(rows.trimmed_usn, usn):
            rows.log[at] = _logged(msgspec.structs.replace(rows.log[at].event, body=TRIMMED))
        rows.trimmed_usn = max(rows.trimmed_usn, usn)

    def fail_over(self, lost: int) -> None:
        """The newest `lost` commits are gone; this is another history from here on."""
        oracle = self._world.oracle
        taken_back = [undo for commit in reversed(self._commits[-lost:]) for undo in reversed(commit)]
        heads = {undo.rows.user_id: undo.usn for undo in taken_back}
        opened = {id for undo in taken_back for id, known in undo.conversations.items() if known is None}
        keys = {key[2] for undo in taken_back for key in undo.stored}
        oracle.failing_over({user_id: self.users[user_id].log[usn:] for user_id, usn in heads.items()}, opened, keys)
        for rows in self.users.values():
            self.past[(self.epoch_name, rows.user_id)] = rows.log
            rows.log = list(rows.log)
        for rows, usn, conversations, stored, rated in taken_back:
            del rows.log[usn:]
            rows.usn = usn
            rows.trimmed_usn = min(rows.trimmed_usn, usn)
            for conversation_id, known in conversations.items():
                if known is None:
                    del rows.conversations[conversation_id]
                    del rows.openings[conversation_id]
                    del rows.snapshots[conversation_id]
                    del self.directory[conversation_id]
                else:
                    rows.conversations[conversation_id] = known
            for key in stored:
                del rows.stored[key]
            for conversation_id, verdict in rated.items():
                if verdict is None:
                    del rows.rated[conversation_id]
                else:
                    rows.rated[conversation_id] = verdict
        del self._commits[-lost:]
        self.epoch += 1
        oracle.failed_over()

    def go_down(self) -> None:
        """No answers; what was under way and not committed is rolled back."""
        self.away = True
        self.crashes += 1
        self._locked.clear()
        for each in self._waiting:
            if each.owner.life == each.life:
                self._world.at(0.0, each.owner, each.lost)
        self._waiting.clear()

    # -- reads ---------------------------------------------------------------------------------------------

    def after(self, user_id: UUID, usn: int, limit: int) -> list[Logged]:
        """What the user may see after `usn`, in order, at most `limit`."""
        return self.users[user_id].log[usn : usn + limit]

    def history_of(self, epoch: str, user_id: UUID) -> list[Logged]:
        """The log of a user as `epoch` has or had it."""
        return self.users[user_id].log if epoch == self.epoch_name else self.past[(epoch, user_id)]

    def say_hello(self, user_id: UUID, device_id: UUID, attempt: int) -> int:
        """The device is this user's; returns the generation by which its newest socket holds it. Raises StaleHello."""
        newest = self.attempts.get(device_id, 0)
        if attempt <= newest:
            raise StaleHello(attempt, newest)
        self.attempts[device_id] = attempt
        generations = self.users[user_id].generations
        generations[device_id] = generations.get(device_id, 0) + 1
        return generations[device_id]

    def standing(self, user_id: UUID) -> Standing:
        rows = self.users[user_id]
        return Standing(rows.usn, rows.auth_gen, rows.trimmed_usn)


def _logged(event: Event) -> Logged:
    wire = encoded(event)
    expected = JSON.decode_user_server(wire.frame(JSON))
    return Logged(event, wire, expected)  # type: ignore[arg-type]  # an event decodes to one


def _keep(ledger: Ledger, rows: Rows, key: ClientKey) -> None:
    found = rows.stored.get(key)
    if found is not None:
        ledger.stored[key] = found
