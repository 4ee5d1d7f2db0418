"""WebSocket close codes of the protocol and what they ask of a client (docs/protocol.md, *Codes*).

The range is the rule, so that a client does the right thing with a code it has never heard of:
4000 to 4399 (and everything below 4000, such as 1006 or 1012): reconnect; 4400 to 4999: final, stop. A device makes one
exception, for a 4400 before `welcome` (`attempts.py`).
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """Why one side closed the socket."""

    DRAIN = 4000
    STALLED = 4001
    NO_PONG = 4002
    TOKEN_EXPIRED = 4003
    PROTOCOL_ERROR = 4400
    REVOKED = 4401
    VERSION = 4406
    REPLACED = 4409

    @property
    def reconnect(self) -> bool:
        """True if the client should connect again (with backoff), False if the code is final."""
        return may_reconnect(self)


def may_reconnect(code: int) -> bool:
    """The same rule for any code a socket closed with, also one that is not in `CloseCode`."""
    return not 4400 <= code <= 4999
