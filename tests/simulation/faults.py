"""Faults to plant, one at a time: a simulator that does not find them would prove nothing.

Each is a small mistake somebody could make tomorrow, put in the place where it would be made.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec import UNSET
from msgspec.structs import replace

from sdk_protocol.attempts import Attempts
from sdk_protocol.client_session import ClientSession
from sdk_protocol.closing import may_reconnect
from sdk_protocol.cursor import Judgement, ReadCursor
from sdk_protocol.outbox import Outbox
from tests.simulation import database as database_module
from tests.simulation import greeting as greeting_module
from tests.simulation.connection import Connection
from tests.simulation.database import Database
from tests.simulation.node import Node
from tests.simulation.writer import Transaction, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from sdk_protocol.effects import Effect
    from sdk_protocol.frames import Event
    from server.domain.intents import AnyIntent
    from tests.simulation.database import Logged

Replacement = tuple[object, str, Any]


def _near_enough() -> list[Replacement]:
    """S1: the next but one counts as the next."""

    def judge(cursor: ReadCursor, usn: int, size: int = 0) -> Judgement:
        skipped = usn - cursor.offered - 1
        return original(cursor, cursor.offered + 1, size) if skipped == 1 else original(cursor, usn, size)

    def sent(cursor: ReadCursor, usn: int, size: int, now: float) -> None:
        cursor.offered = usn - 1
        original_sent(cursor, usn, size, now)

    original, original_sent = ReadCursor.judge, ReadCursor.sent
    return [(ReadCursor, "judge", judge), (ReadCursor, "sent", sent)]


def _no_window() -> list[Replacement]:
    """S6: what is offered and not acknowledged is not counted."""

    def judge(cursor: ReadCursor, usn: int, size: int = 0) -> Judgement:
        judgement = original(cursor, usn, size)
        return Judgement.NEXT if judgement is Judgement.FULL else judgement

    original = ReadCursor.judge
    return [(ReadCursor, "judge", judge)]


def _window_that_drops() -> list[Replacement]:
    """S6: an event that does not fit is taken for sent."""

    def offer(connection: Connection, logged: Logged) -> Judgement:
        judgement = original(connection, logged)
        if judgement is Judgement.FULL and connection.session.cursor is not None:
            connection.session.cursor.offered += 1
        return judgement

    original = Connection.offer_from_log
    return [(Connection, "offer_from_log", offer)]


def _gaps_applied() -> list[Replacement]:
    """C1: a phone stores whatever comes."""

    def event(session: ClientSession, frame: Event, size: int, now: float) -> list[Effect]:
        if frame.usn is not UNSET and frame.usn > session.usn + 1:
            session.usn = frame.usn - 1
        return original(session, frame, size, now)

    original = ClientSession._event
    return [(ClientSession, "_event", event)]


def _forgotten_on_ok() -> list[Replacement]:
    """C2: an acknowledged message leaves the outbox before it was seen."""

    def covered(outbox: Outbox, usn: int) -> list[Any]:
        return original(outbox, 2**53)

    original = Outbox.covered
    return [(Outbox, "covered", covered)]


def _resume_one_too_far() -> list[Replacement]:
    """S4: the reader's cursor is taken for the next event it wants."""

    def cursor(offered: int, events: int, size: int) -> ReadCursor:
        return ReadCursor(offered + 1, events, size)

    return [(greeting_module, "ReadCursor", cursor)]


def _epoch_ignored() -> list[Replacement]:
    """S4: a usn is believed, whatever history it belongs to."""
    return [(Node, "history", lambda node: "e1")]


def _no_sweep() -> list[Replacement]:
    """S5: nobody looks after lost hints."""
    return [(Connection, "swept", lambda connection, standing, history: None)]


def _revoked_by_hint_only() -> list[Replacement]:
    """S5: the sweep looks at the log, not at the log-in."""

    def swept(connection: Connection, standing: Any, history: str) -> None:
        original(connection, standing._replace(auth_gen=connection.auth_gen), history)

    original = Connection.swept
    return [(Connection, "swept", swept)]


def _lost_history_kept() -> list[Replacement]:
    """S4: after a failover under a living node nobody asks which history its cursors are of."""

    def swept(connection: Connection, standing: Any, history: str) -> None:
        original(connection, standing, "")

    original = Connection.swept
    return [(Connection, "swept", swept)]


def _ack_before_commit() -> list[Replacement]:
    """S2: the answer goes out when the message has its numbers, before the commit."""

    def number(transaction: Transaction) -> None:
        original(transaction)
        position = 0
        for waiting in transaction._taken if transaction._ledgers else ():
            waiting.answer(transaction._outcomes[position : position + len(waiting.intents)])
            position += len(waiting.intents)

    original = Transaction._number
    return [(Transaction, "_number", number)]


def _ids_with_a_lifetime() -> list[Replacement]:
    """S2: an id is remembered for two seconds, not for ever."""

    def keep(ledger: Any, rows: Any, key: Any) -> None:
        found = rows.stored.get(key)
        if found is not None and (ledger.now - found.at).total_seconds() < 2.0:
            ledger.stored[key] = found

    return [(database_module, "_keep", keep)]


def _numbers_without_lock() -> list[Replacement]:
    """Numbers are taken before anybody has the row, as from a sequence."""

    def lock(db: Database, users: Any, holder: Any, owner: Any, granted: Callable[[], None], lost: Any) -> None:
        granted()

    return [(Database, "lock", lock)]


def _chains_ignored() -> list[Replacement]:
    """S3: nobody looks at `after`."""

    def append(writer: Writer, intents: list[AnyIntent], answer: Any) -> None:
        original(writer, [replace(each, after=None) if hasattr(each, "after") else each for each in intents], answer)

    original = Writer.append
    return [(Writer, "append", append)]


def _numbers_of_the_moment() -> list[Replacement]:
    """S2: a repeat is told where the log stands now, not its first result."""

    def written(connection: Connection, request: Any, outcome: Any) -> None:
        if getattr(outcome, "duplicate", False) and connection.user_id is not None:
            last = connection.world.db.users[connection.user_id].log[-1].event
            outcome = replace(outcome, usn=last.usn, seq=last.seq, conversation_id=last.conversation_id)
        original(connection, request, outcome)

    original = Connection._written
    return [(Connection, "_written", written)]


def _late_hellos_take_over() -> list[Replacement]:
    """C6: a hello is a hello, whichever of its device it is."""

    def say_hello(database: Database, user_id: UUID, device_id: UUID, attempt: int) -> int:
        database.attempts[device_id] = 0
        return original(database, user_id, device_id, attempt)

    original = Database.say_hello
    return [(Database, "say_hello", say_hello)]


def _number_forgotten() -> list[Replacement]:
    """C6: a device begins to count anew whenever its app does, and believes nobody who knows better."""
    return [(Attempts, "know", lambda _attempts, _number: None)]


def _4400_is_the_end() -> list[Replacement]:
    """Close codes: an app that slept before its hello stops for good."""
    return [(Attempts, "final", lambda _attempts, code: not may_reconnect(code))]


FAULTS: dict[str, Callable[[], list[Replacement]]] = {
    "near enough is next": _near_enough,
    "the window is not counted": _no_window,
    "a full window drops": _window_that_drops,
    "a phone applies gaps": _gaps_applied,
    "the outbox forgets on ok": _forgotten_on_ok,
    "resume is off by one": _resume_one_too_far,
    "the epoch is ignored": _epoch_ignored,
    "no sweep": _no_sweep,
    "revoked by hint only": _revoked_by_hint_only,
    "a lost history is kept": _lost_history_kept,
    "ok before the commit": _ack_before_commit,
    "ids with a lifetime": _ids_with_a_lifetime,
    "numbers without the lock": _numbers_without_lock,
    "chains are ignored": _chains_ignored,
    "repeats get new numbers": _numbers_of_the_moment,
    "late hellos take over": _late_hellos_take_over,
    "a hello's number is forgotten": _number_forgotten,
    "one 4400 is the end": _4400_is_the_end,
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The fault `name` of `FAULTS` is there until the block ends."""
    with ExitStack() as all_of_them:
        for owner, attribute, replacement in FAULTS[name]():
            all_of_them.enter_context(patch.object(owner, attribute, replacement))
        yield
