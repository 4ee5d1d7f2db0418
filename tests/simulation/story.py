"""A run told line by line, for whoever has to understand what went wrong."""

from __future__ import annotations

from uuid import UUID

from msgspec import UNSET

from sdk_protocol import effects as on


def told(effect: on.Effect) -> str:
    """An effect in a line of the story."""
    match effect:
        case on.Transmit(frame) | on.Persist(_, frame):
            text = f"{type(effect).__name__} {type(frame).__name__}"
            for field in ("id", "conversation", "after", "usn", "ref", "epoch"):
                value = getattr(frame, field, None)
                if value is not None and value is not UNSET:
                    text += f" {field}={short(value)}"
            return text
        case on.Store(event, epoch):
            return f"Store {epoch}:{event.usn} {event.kind} id={short(event.id)} in {short(event.conversation)}"
        case on.Replace(snapshot, epoch):
            return f"Replace by {epoch}:{snapshot.usn}"
        case on.Forget(key):
            return f"Forget {short(key)}"
        case on.Accepted(key, ok):
            return f"Accepted {short(key)} as {ok.usn}{' again' if ok.duplicate is True else ''}"
        case on.Failed(key, error):
            return f"Failed {short(key)} {error.code}"
        case on.Deliver(frame):
            return f"Deliver {type(frame).__name__} {getattr(frame, 'usn', '')}{getattr(frame, 'resume', '')}"
        case _:
            return str(effect)


def short(value: object) -> str:
    """An id of this simulation by its last digits."""
    return f"#{value.int % 2**64}" if isinstance(value, UUID) else str(value)
