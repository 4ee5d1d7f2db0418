"""Somebody else's server, for tests of what we make of its answers. Real sockets: tests/contracts/test_outgoing.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.outgoing.interface import Answered, Call, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FINE = Answered(status=204)


class ScriptedOutgoing:
    """Answers what `answers` say in turn, then FINE. `calls` has every call; `before` runs first, while it is under
    way; `judge` answers instead if it is set and has an answer."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: list[Outcome] = []
        self.before: Callable[[Call], Awaitable[None]] | None = None
        self.judge: Callable[[Call], Outcome | None] | None = None

    async def post(self, call: Call) -> Outcome:
        self.calls.append(call)
        if self.before is not None:
            await self.before(call)
        judged = self.judge(call) if self.judge is not None else None
        if judged is not None:
            return judged
        return self.answers.pop(0) if self.answers else FINE

    async def close(self) -> None:
        """There is nothing to close."""
