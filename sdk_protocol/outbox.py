"""What a device has to say and the server has not yet repeated to it (docs/protocol.md, S2, S3, C2).

An entry is kept from before it is sent until it was seen in the device's own stream. On every new connection all of it
is sent again under the same ids; the server answers `duplicate: true` for what it has.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from sdk_protocol.errors import ErrorCode, WrongState
from sdk_protocol.frames import Error, Event, Ok, Open, Send

WINDOW = 32
"""Most entries under way at once."""


class Entry:
    """`frame` as the caller made it; `ref` and `after` are filled in whenever it is sent."""

    __slots__ = ("accepted", "frame", "key", "message", "under_way", "usn")

    def __init__(self, frame: Open | Send) -> None:
        self.frame = frame
        self.key = key_of(frame)
        self.message = isinstance(frame, Send) or frame.message is not UNSET
        """False: an `open` without one, which is no link of the chain."""
        self.under_way = False
        self.accepted = False
        self.usn: int | None = None
        """Where the server says it is in the stream."""


def key_of(frame: Open | Send) -> UUID:
    """The id of the message; of an `open` without one, the conversation's."""
    if isinstance(frame, Send):
        return frame.id
    return frame.conversation if frame.message is UNSET else frame.message.id


class Outbox:
    """Entries in the order in which they were written."""

    __slots__ = ("_entries",)

    def __init__(self, frames: Iterable[Open | Send] = ()) -> None:
        self._entries: dict[UUID, Entry] = {}
        for frame in frames:
            self.add(frame)

    def __len__(self) -> int:
        return len(self._entries)

    def frames(self) -> list[Open | Send]:
        """All of it, as it has to be stored."""
        return [entry.frame for entry in self._entries.values()]

    def add(self, frame: Open | Send) -> Entry:
        """Append. The same again leaves the first one in its place (a button pressed twice).

        Raises `WrongState` if the id is in use for something else: it would be taken for that, and be lost.
        """
        entry = self._entries.setdefault(key_of(frame), Entry(frame))
        if entry.frame != frame:
            raise WrongState(f"the id {entry.key} is in the outbox for something else: make a new one")
        return entry

    def start_over(self) -> None:
        """A new connection: all of it is sent again, also what was accepted (the server's log may have lost it)."""
        for entry in self._entries.values():
            entry.under_way = False
            entry.accepted = False
            entry.usn = None

    def due(self) -> Iterator[tuple[Entry, UUID | None]]:
        """What may be sent now, in order, each with the id for `after`. The caller must mark it `under_way`."""
        under_way = sum(entry.under_way for entry in self._entries.values())
        previous: dict[UUID, UUID] = {}
        for entry in self._entries.values():
            if entry.accepted:
                continue
            conversation = entry.frame.conversation
            if not entry.under_way:
                if under_way >= WINDOW:
                    return
                under_way += 1
                yield entry, previous.get(conversation)
            if entry.message:
                previous[conversation] = entry.key

    def accept(self, entry: Entry, ok: Ok) -> None:
        """The server has committed it."""
        entry.under_way = False
        entry.accepted = True
        entry.usn = None if ok.usn is UNSET else ok.usn

    def refuse(self, entry: Entry, error: Error) -> bool:
        """The server answered `error`. True if the entry is to be sent again, False if it never will be taken."""
        entry.under_way = False
        if error.retry or error.code is ErrorCode.UNAUTHORIZED:
            return True
        # The `open` of its conversation was itself put off, so this message came too early, not to a wrong place.
        return error.code is ErrorCode.NOT_FOUND and isinstance(entry.frame, Send) and self._opening(entry)

    def remove(self, key: UUID) -> bool:
        """True if it was there."""
        return self._entries.pop(key, None) is not None

    def seen(self, event: Event) -> list[UUID]:
        """Keys of the entries the event proves to be stored; they are removed."""
        proven = [entry.key for entry in self._entries.values() if _proves(event, entry)]
        for key in proven:
            del self._entries[key]
        return proven

    def covered(self, usn: int) -> list[UUID]:
        """Keys of the entries that lie at or before `usn`, which this device has; they are removed."""
        covered = [entry.key for entry in self._entries.values() if entry.usn is not None and entry.usn <= usn]
        for key in covered:
            del self._entries[key]
        return covered

    def _opening(self, entry: Entry) -> bool:
        return any(
            isinstance(other.frame, Open)
            and not other.accepted
            and other.frame.conversation == entry.frame.conversation
            for other in self._entries.values()
        )


def numbered(entry: Entry, ref: int, after: UUID | None) -> Open | Send:
    """The frame as it goes out."""
    if isinstance(entry.frame, Open):
        return replace(entry.frame, ref=ref)
    return replace(entry.frame, ref=ref, after=UNSET if after is None else after)


def _proves(event: Event, entry: Entry) -> bool:
    if event.conversation != entry.frame.conversation:
        return False
    if not entry.message:
        return event.kind == "conversation.opened"
    return event.id == entry.key and event.author.type == "user"
