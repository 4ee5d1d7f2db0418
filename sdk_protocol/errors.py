"""What can go wrong on the wire, by name (docs/protocol.md, *Codes*).

The exceptions of this package::

    ProtocolError
    ├── Malformed        the bytes are no frame: close the socket with 4400
    ├── BadFrame         a frame that cannot be accepted: answer `error`, keep the socket
    └── WrongState       the calling program used a session out of turn (a bug on this side, nothing to send)

`Refused` is a `ValueError`: message bodies and frames raise it while they are being built, so it reaches a program
that builds one itself; out of a codec it always comes as a `BadFrame`.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """`code` of an `error` frame. `retry` tells whether the same frame may succeed later without being changed."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    OUT_OF_ORDER = "out_of_order"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"

    @property
    def retry(self) -> bool:
        """True for codes that describe a moment, not the frame.

        `out_of_order` is one: the frame is right as soon as the message named by its `after` has been stored.
        """
        return self in _RETRIED


_RETRIED = frozenset({ErrorCode.RATE_LIMITED, ErrorCode.OUT_OF_ORDER, ErrorCode.UNAVAILABLE})


class ProtocolError(Exception):
    """Base of everything this package raises on purpose, except `Refused`."""


class Malformed(ProtocolError):
    """Not decodable, not an object, without a string `t`, or in the wrong kind of WebSocket frame.

    You must close the socket with `CloseCode.PROTOCOL_ERROR` (4400); `str(exc)` is fit to be the close reason.
    """


class BadFrame(ProtocolError):
    """A frame of the right shape whose content cannot be accepted. You must answer `error` and keep the socket.

    `code`: `bad_request` or `too_large`. `message`: a sentence for the developer of the client.
    `field`: dotted path such as `body.text`, or None for the frame as a whole. `ref`: the frame's, if it could be read.
    """

    __slots__ = ("code", "field", "message", "ref")

    def __init__(self, code: ErrorCode, message: str, field: str | None = None, ref: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.ref = ref


class WrongState(ProtocolError):
    """A method of a session was called in a state that does not allow it. Fix the calling program."""


class Refused(ValueError):
    """A value that breaks a rule no type can express (blank text, two actions on one button …).

    `field` is relative to the object being built, for example `text`.
    """

    __slots__ = ("code", "field", "message")

    def __init__(self, code: ErrorCode, message: str, field: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
