"""The endpoint of docs/actions.md, as it is printed there, refunds once a key and answers what we understand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from server.clock import SystemClock
from server.domain.action import State
from server.outgoing.interface import Answered, Outcome, Unreachable
from server.outgoing.signing import signature_headers
from tests.server.services.action_stage import stage_on

if TYPE_CHECKING:
    import pytest

    from server.outgoing.interface import Call

PAGE = Path(__file__).parents[3] / "docs" / "actions.md"


class Printed:
    """Calls the printed endpoint. The first answer gets lost."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.answers: list[int] = []

    async def post(self, call: Call) -> Outcome:
        signed = signature_headers(call.id, SystemClock().now(), call.body, call.secrets)
        transport = httpx.ASGITransport(self.names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://kestrel") as client:
            answer = await client.post("/deskbell/refund", content=call.body, headers=signed | call.headers)
        self.answers.append(answer.status_code)
        if len(self.answers) == 1:
            return Unreachable(reason="cut", sent=True)
        return Answered(status=answer.status_code, body=answer.content)

    async def close(self) -> None:
        """There is nothing to close."""


async def test_it_refunds_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    printed = Printed()
    async with stage_on(database_url) as stage:
        monkeypatch.setenv("ACTION_SECRET", (await stage.define()).secret)
        exec(compile(code, str(PAGE), "exec", dont_inherit=True), printed.names)
        monkeypatch.setattr(stage.world.action_calls, "_outgoing", printed)
        action = await stage.press()
        await stage.work()
        await stage.pass_time(2)
        settled = await stage.now(action)
        transport = httpx.ASGITransport(printed.names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://kestrel") as client:
            forged = await client.post("/deskbell/refund", content=b"{}")
    assert printed.answers == [200, 200]
    assert list(printed.names["refunds"]) == [str(action.action_id)]
    assert (settled.state, settled.message) == (State.DONE, "You get €5.00 back within two days.")
    assert forged.status_code == 401
