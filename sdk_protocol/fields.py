"""Types of single fields, with the limits a frame is checked against while it is decoded.

Numbers stay below 2**53, the largest range in which a JavaScript client counts exactly. Times are RFC 3339 UTC strings
in both codecs (MessagePack's timestamp extension is not used): they are for display only, order is `seq`/`usn`.
"""

from typing import Annotated, Literal

from msgspec import Meta

MAX_INTEGER = 2**53 - 1
FRAME_BYTES = 64 * 1024
"""Largest frame a client may send."""
TEXT_BYTES = 16 * 1024
"""Largest text of a message, in bytes of UTF-8."""
HISTORY_EVENTS = 200
"""Largest `limit` of `history`."""
BUTTONS = 10
"""Most buttons of a card and most options of a question."""

Ref = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER, description="Chosen by the client, echoed in the answer.")]
Seq = Annotated[int, Meta(ge=0, le=MAX_INTEGER, description="Dense per conversation; 0 is before the first event.")]
EventSeq = Annotated[int, Meta(ge=1, le=MAX_INTEGER, description="Dense per conversation: 1, 2, 3 …")]
Usn = Annotated[int, Meta(ge=0, le=MAX_INTEGER, description="Dense per end user; 0 is before the first event.")]
Attempt = Annotated[int, Meta(ge=1, le=MAX_INTEGER, description="Grows with every `hello` of a device.")]
Rev = Annotated[int, Meta(ge=0, le=MAX_INTEGER, description="Grows with every change of a conversation's summary.")]
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Milliseconds = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Seconds = Annotated[float, Meta(ge=0)]

Name = Annotated[str, Meta(max_length=200)]
Identifier = Annotated[str, Meta(min_length=1, max_length=200)]
Label = Annotated[str, Meta(min_length=1, max_length=80)]
ShortText = Annotated[str, Meta(max_length=4000)]
Token = Annotated[str, Meta(min_length=1, max_length=16384)]
Capability = Annotated[str, Meta(min_length=1, max_length=64)]
Time = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|\+00:00)$",
        description="RFC 3339, UTC",
    ),
]
Decimal = Annotated[
    str, Meta(max_length=40, pattern=r"^-?[0-9]+(\.[0-9]+)?$", description='A decimal number, as in "12.50"')
]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$", description="ISO 4217")]
# Lower-case scheme or a path of this server: a link is opened by somebody else's device, so nothing that runs as code.
Url = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"^(?!javascript:|data:|vbscript:)([a-z][a-z0-9+.-]*:|/)[^\s]*$",
        description="A link with a lower-case scheme, or a path of this server; never javascript:, data: or vbscript:",
    ),
]

Status = Literal["open", "pending", "snoozed", "resolved"]
Platform = Literal["ios", "android", "web", "other"]
Presence = Literal["online", "away", "offline"]
PushProvider = Literal["fcm", "apns", "webpush"]
AuthorType = Literal["user", "agent", "bot", "system"]
Resume = Literal["continued", "snapshot"]
