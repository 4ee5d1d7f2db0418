"""What one does in a conversation: one verb a method, called by every door.

Whatever writes goes through `storage.writer`; when a method returns, it is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from server.bus.interface import Typing, conversation_channel, user_channel
from server.domain import message
from server.domain.errors import BadRequest, Conflict, NotFound
from server.domain.events import Author, AuthorType, Event, Kind
from server.domain.intents import AddNote, AnyIntent, MarkRead, Message, Open, Post, Rate
from server.storage import log

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from server.bus.interface import Bus
    from server.domain.numbering import Numbered
    from server.services.directory import Directory, Place
    from server.services.rates import Rates
    from server.storage.batch import Outcome
    from server.storage.database import Database
    from server.storage.writer import Writer

MAX_TOPIC = 200
MAX_COMMENT = 2000
NEWER_SHOWN = 50


class Messaging:
    """Messages, notes, read cursors, ratings, typing.

    history: what a device asks for on the strength of its cursor is written in the cursor's history or not at all;
    raises AnotherHistory then.
    """

    def __init__(self, database: Database, writer: Writer, directory: Directory, bus: Bus, sends: Rates) -> None:
        self._database = database
        self._directory = directory
        self._writer = writer
        self._bus = bus
        self._sends = sends

    # -- what one may ask to be written: checked here, and written by `submit`, or by the verbs below --------

    def opening(
        self,
        place: Place,
        author: Author,
        *,
        topic: str | None = None,
        transaction_id: str | None = None,
        first: Message | None = None,
        history: str | None = None,
    ) -> Open:
        """A conversation about a transaction, with its first message or without. Twice is the same as once."""
        self._limit(place, author)
        check_line(topic, "topic", MAX_TOPIC)
        check_line(transaction_id, "transaction", 200)
        return Open(
            app_id=place.app_id,
            user_id=place.user_id,
            history=history,
            conversation_id=place.conversation_id,
            author=author,
            topic=topic,
            transaction_id=transaction_id,
            message=first,
        )

    def posting(
        self,
        place: Place,
        sent: Message,
        *,
        after: UUID | None = None,
        expected_seq: int | None = None,
        history: str | None = None,
    ) -> Post:
        """A message."""
        self._limit(place, sent.author)
        return Post(
            app_id=place.app_id,
            user_id=place.user_id,
            history=history,
            conversation_id=place.conversation_id,
            message=sent,
            after=after,
            expected_seq=expected_seq,
        )

    def reading(
        self, place: Place, reader: Literal["user", "agent"], author: Author, seq: int, history: str | None = None
    ) -> MarkRead:
        """A read cursor moved forward; the others get a receipt."""
        return MarkRead(
            app_id=place.app_id,
            user_id=place.user_id,
            history=history,
            conversation_id=place.conversation_id,
            reader=reader,
            author=author,
            seq=seq,
        )

    def rating(self, place: Place, author: Author, score: int, comment: str | None, history: str | None = None) -> Rate:
        """The customer's verdict, 1 to 5."""
        if not 1 <= score <= 5:
            raise BadRequest("A score is 1 to 5.", field="score")
        if comment is not None and (len(comment) > MAX_COMMENT or "\x00" in comment):
            raise BadRequest(f"A comment has at most {MAX_COMMENT} characters.", field="comment")
        self._limit(place, author)
        return Rate(
            app_id=place.app_id,
            user_id=place.user_id,
            history=history,
            conversation_id=place.conversation_id,
            author=author,
            score=score,
            comment=comment or None,
        )

    def submit(self, intent: AnyIntent, done: Callable[[list[Outcome]], None]) -> None:
        """Write it without waiting: `done` gets the one outcome after the commit. What is submitted for one user is
        written in that order. Raises Unavailable when too much waits."""
        self._writer.submit(intent, done)

    # -- the verbs -----------------------------------------------------------------------------------------

    async def open(
        self,
        place: Place,
        author: Author,
        *,
        topic: str | None = None,
        transaction_id: str | None = None,
        first: Message | None = None,
    ) -> Numbered:
        """Open a conversation."""
        return await self._writer.append_one(
            self.opening(place, author, topic=topic, transaction_id=transaction_id, first=first)
        )

    async def mark_read(self, place: Place, reader: Literal["user", "agent"], author: Author, seq: int) -> Numbered:
        """Move a read cursor forward."""
        return await self._writer.append_one(self.reading(place, reader, author, seq))

    async def rate(self, place: Place, author: Author, score: int, comment: str | None) -> Numbered:
        """Take the customer's verdict."""
        return await self._writer.append_one(self.rating(place, author, score, comment))

    async def post(
        self,
        place: Place,
        sent: Message,
        *,
        after: UUID | None = None,
        expected_seq: int | None = None,
        history: str | None = None,
    ) -> Numbered:
        """Add a message. Raises Conflict with the newer events when someone wrote after `expected_seq`."""
        intent = self.posting(place, sent, after=after, expected_seq=expected_seq, history=history)
        try:
            return await self._writer.append_one(intent)
        except Conflict as conflict:
            newer = await log.after_seq(
                self._database,
                place.app_id,
                place.user_id,
                place.conversation_id,
                expected_seq or 0,
                NEWER_SHOWN,
            )
            raise Conflict(conflict.message, events=newer, field=conflict.field) from None

    async def note(self, place: Place, sent: Message) -> Numbered:
        """Add a private note."""
        return await self._writer.append_one(
            AddNote(app_id=place.app_id, user_id=place.user_id, conversation_id=place.conversation_id, message=sent)
        )

    async def press(
        self, place: Place, author: Author, seq: int, button: str, press_id: UUID, history: str | None = None
    ) -> Numbered:
        """The customer pressed a button of a card, or chose an option: that is a message with what it says.

        `press_id` makes a repeat harmless.
        """
        event = await log.find(self._database, place.app_id, place.user_id, place.conversation_id, seq)
        label = _label_of(event, button)
        if label is None:
            raise NotFound("There is no such button.", field="button")
        body = message.from_struct(message.Text(text=label))
        return await self.post(place, Message(press_id, author, body), history=history)

    async def page(self, place: Place, before: int | None, limit: int) -> tuple[log.Page, bool]:
        """What the user may see of a conversation before `before`, in order, and whether there is more."""
        events, history = await log.page_before(
            self._database,
            place.app_id,
            place.user_id,
            place.conversation_id,
            before if before is not None else 2**62,
            limit + 1,
        )
        if not events and await log.find(self._database, place.app_id, place.user_id, place.conversation_id, 1) is None:
            raise NotFound("There is no such conversation.", field="conversation")
        return log.Page(events[-limit:], history), len(events) > limit

    async def event(self, place: Place, seq: int) -> Event:
        """One event of a conversation: what an earlier request with the same id had written."""
        found = await log.find(self._database, place.app_id, place.user_id, place.conversation_id, seq)
        if found is None:
            raise NotFound("There is no such event.", field="seq")
        return found

    async def typing(self, place: Place, author: Author, on: bool) -> None:
        """Tell those who look at the conversation; a hint, no more. Raises NotFound if it is not the user's."""
        if await self._directory.find(place.conversation_id) != place:
            raise NotFound("There is no such conversation.", field="conversation")
        hint = Typing(
            place.app_id,
            place.user_id,
            place.conversation_id,
            author.type.value,
            author.id,
            author.name,
            on,
        )
        channels = [conversation_channel(place.conversation_id)]
        if author.type is not AuthorType.USER:
            channels.append(user_channel(place.app_id, place.user_id))
        self._bus.publish([(channel, hint) for channel in channels])

    def _limit(self, place: Place, author: Author) -> None:
        if author.type is AuthorType.USER:
            self._sends.take((place.app_id, place.user_id))


def check_line(value: str | None, field: str, longest: int) -> None:
    """A short text that is stored as it is."""
    if value is not None and (not 1 <= len(value) <= longest or "\x00" in value):
        raise BadRequest(f"`{field}` is 1 to {longest} characters long.", field=field)


def _label_of(event: Event | None, button: str) -> str | None:
    if event is None or event.kind != Kind.MESSAGE or event.author.type is AuthorType.USER:
        return None
    body: dict[str, Any] = msgspec.json.decode(event.body)
    for choice in [*body.get("buttons", ()), *body.get("options", ())]:
        if choice["id"] == button:
            label: str = choice.get("reply") or choice["label"]
            return label
    return None
