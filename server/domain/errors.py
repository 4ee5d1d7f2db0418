"""Why the domain says no.

    DomainError
     ├── BadRequest            the input is wrong; `field` says where
     │    └── TooLarge         …because there is too much of it
     ├── Unauthorized          who are you?
     ├── Forbidden             I know you, and you may not
     ├── NotFound              no such thing, or not yours: the two are never told apart
     ├── OutOfOrder            `after` names a message that is not stored (protocol.md, S3)
     ├── IdempotencyConflict   the same id was used for something else (S2)
     ├── Conflict              somebody wrote meanwhile; carries their events
     │    └── StaleHello       …or said hello: this device itself, and this one comes late
     ├── RateLimited           later; `retry_after` in seconds
     └── Unavailable           not now, and nothing was written as far as we know; try the same id again
          └── AnotherHistory   …because the log lost commits that the asker builds on; it must begin anew (S4)

`code` is the word of protocol.md, "Codes". No status code lives here: the doors map these to their own
answers (`gateway/translate.py`, `admin_api/errors.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.domain.events import Event


class DomainError(Exception):
    """Base of everything a client may be told. `message` is for a developer: what is wrong and what to do."""

    code: ClassVar[str]
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class BadRequest(DomainError):
    code = "bad_request"


class TooLarge(BadRequest):
    code = "too_large"


class Unauthorized(DomainError):
    code = "unauthorized"


class Forbidden(DomainError):
    code = "forbidden"


class NotFound(DomainError):
    code = "not_found"


class OutOfOrder(DomainError):
    code = "out_of_order"
    retry = True


class IdempotencyConflict(DomainError):
    code = "idempotency_conflict"


class Conflict(DomainError):
    """`events` are the ones the writer had not seen, oldest first; empty where there is nothing to show."""

    code = "conflict"

    def __init__(self, message: str, *, events: Sequence[Event] = (), field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.events = tuple(events)


class StaleHello(Conflict):
    """A hello of a device that has said a newer one, number `newest`. A greater one succeeds."""

    retry = True

    def __init__(self, attempt: int, newest: int) -> None:
        super().__init__(
            f"This is hello {attempt} of this device and hello {newest} was here before: say it with a greater number.",
            field="attempt",
        )
        self.newest = newest


class RateLimited(DomainError):
    code = "rate_limited"
    retry = True

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(DomainError):
    code = "unavailable"
    retry = True

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnotherHistory(Unavailable):
    pass
