"""Frames and ids the tests of this package build on."""

import json
from typing import Any
from uuid import UUID

from msgspec import UNSET, UnsetType

from sdk_protocol.fields import Resume
from sdk_protocol.frames import Author, Device, Event, Limits, Text, UserInfo, Welcome

CONVERSATION = UUID("01927f3e-8a00-7000-8000-0000000000c1")
OTHER = UUID("01927f3e-8a00-7000-8000-0000000000c2")
DEVICE = Device(id=UUID("01927f3e-8a00-7000-8000-0000000000d1"), platform="ios")
AT = "2026-03-01T12:00:00Z"
WALL = 1772366400.0
"""`AT` in seconds since 1970."""


def message_id(number: int) -> UUID:
    return UUID(int=(0x01927F3E8A0070008000 << 48) | number)


def text(words: str = "hi") -> Text:
    return Text(text=words)


def welcome(
    resume: Resume = "continued", head: int = 0, epoch: str = "e1", expires: str = "2026-03-01T13:00:00Z"
) -> Welcome:
    return Welcome(
        session="s1",
        user=UserInfo(id="u1"),
        epoch=epoch,
        head=head,
        resume=resume,
        ping_interval=25.0,
        token_expires_at=expires,
        limits=Limits(),
        caps=[],
    )


def event(
    usn: int,
    *,
    seq: int | None = None,
    conversation: UUID = CONVERSATION,
    kind: str = "message",
    id: UUID | UnsetType = UNSET,
    author: Author | None = None,
    body: Any = None,
) -> Event:
    return Event(
        usn=usn,
        conversation=conversation,
        seq=usn if seq is None else seq,
        kind=kind,
        at=AT,
        author=author or Author(type="agent", id="a1"),
        id=id,
        body={"kind": "text", "text": "hello"} if body is None else body,
    )


def frame(t: str, **fields: Any) -> str:
    """A JSON frame as a client that shares no code would write it."""
    return json.dumps({"t": t, **fields}, default=str, ensure_ascii=False)


def hello(**fields: Any) -> str:
    return frame(
        "hello", **{"token": "jwt", "device": {"id": DEVICE.id, "platform": "ios"}, "foreground": True, **fields}
    )


def send(words: Any = "hi", **fields: Any) -> str:
    body = {"kind": "text", "text": words}
    return frame("send", **{"ref": 1, "conversation": CONVERSATION, "id": message_id(1), "body": body, **fields})
