"""A device for the tests: what the server says is typed in by hand."""

from collections.abc import Sequence
from typing import Any

from sdk_protocol.client_session import ClientSession
from sdk_protocol.effects import Effect, Transmit
from sdk_protocol.errors import ErrorCode
from sdk_protocol.frames import Error, Frame, Synced
from tests.sdk_protocol.samples import DEVICE, WALL, welcome


def give(session: ClientSession, frame: Frame, now: float = 0.0) -> list[Effect]:
    return session.receive(session.codec.encode(frame), now)


def transmitted(effects: Sequence[Effect]) -> list[Any]:
    return [effect.frame for effect in effects if isinstance(effect, Transmit)]


def connected(session: ClientSession | None = None, head: int = 0) -> ClientSession:
    session = session or ClientSession(DEVICE, "jwt")
    session.connect(0.0, WALL)
    give(session, welcome(head=max(head, session.usn)))
    return session


def live() -> ClientSession:
    session = connected()
    give(session, Synced(usn=0))
    return session


def refusal(ref: int, code: ErrorCode, **fields: Any) -> Error:
    return Error(ref=ref, code=code, message="m", retry=code.retry, **fields)
