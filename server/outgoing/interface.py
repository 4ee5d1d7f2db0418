"""Calling a URL that a customer of ours gave: webhooks, actions, the context provider (docs/webhooks.md, "Calls").

One call is one attempt. Whoever calls decides what an outcome means and whether to try again; an implementation
promises

- that every call carries the Standard Webhooks headers, with a signature of each of the given secrets;
- that no connection is made to an address that `targets` refuses: the address is looked at when it is connected to, so
  neither a name that resolves to something else meanwhile nor an odd way to write an address gets around it;
- that redirects are not followed, and proxies and credentials of the environment not used; certificates are verified;
- that a call ends within its time and reads no more of the answer than it may;
- that it raises nothing but CancelledError, and logs neither bodies nor secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from server.config_values import Secret

WITHIN_S = 15.0
MOST_ANSWER_BYTES = 64 * 1024


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A signed POST of JSON.

    id: what the receiver knows a repeat by (`webhook-id`). body: JSON text in UTF-8. secrets: `whsec_…`, newest first;
    while one is replaced both sign. within_s: from resolving the name to the last byte of the answer.
    """

    url: str
    id: str
    body: bytes
    secrets: tuple[Secret, ...]
    headers: dict[str, str] = {}
    within_s: float = WITHIN_S
    most_answer_bytes: int = MOST_ANSWER_BYTES

    def __repr__(self) -> str:
        return f"Call({self.id}, {len(self.body)} bytes)"  # a URL may hold a secret of its own


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """There is an answer, a redirect or an error maybe. `truncated`: there was more. `retry_after`: seconds."""

    status: int
    body: bytes = b""
    retry_after: float | None = None
    truncated: bool = False

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Unreachable(msgspec.Struct, frozen=True, kw_only=True):
    """No answer, or not all of it in time. `sent` False: there was no connection, so nothing has been received."""

    reason: str
    sent: bool


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """We do not call there: nothing has left this machine."""

    reason: str


Outcome = Answered | Unreachable | Refused


class Outgoing(Protocol):
    """Close it before the loop ends."""

    async def post(self, call: Call) -> Outcome:
        """One attempt."""

    async def close(self) -> None:
        """Cut what is under way; no call may follow."""
