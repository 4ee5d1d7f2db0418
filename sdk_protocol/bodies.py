"""Message bodies, tagged on `kind` (docs/protocol.md, *Message bodies*).

A user's device may send `UserBody`, the desk `AgentBody`. Limits are checked while a body is built, so a body that
exists is one that may be stored: text is not blank, holds no U+0000 (PostgreSQL cannot store it) and at most 16 KiB
of UTF-8.
Building one directly raises `Refused`; a codec turns that into `BadFrame`.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from sdk_protocol.errors import ErrorCode, Refused
from sdk_protocol.fields import BUTTONS, TEXT_BYTES, Count, Currency, Decimal, Identifier, Label, ShortText, Time, Url

FileName = Annotated[str, Meta(min_length=1, max_length=255)]
ContentType = Annotated[str, Meta(min_length=3, max_length=127, pattern=r"^[^\s/;]+/[^\s/;]+(\s*;.*)?$")]
Title = Annotated[str, Meta(min_length=1, max_length=200)]
CouponCode = Annotated[str, Meta(min_length=1, max_length=100)]


def _check_text(text: str, field: str) -> None:
    # One byte a character at least: the usual short text is never encoded just to be measured.
    if len(text) * 4 > TEXT_BYTES:
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > TEXT_BYTES:
            raise Refused(
                ErrorCode.TOO_LARGE,
                f"{field} has {size} bytes of UTF-8, at most {TEXT_BYTES} are allowed: split it or attach it as a file",
                field,
            )
    if not text or text.isspace():
        raise Refused(ErrorCode.BAD_REQUEST, f"{field} is blank: send at least one visible character", field)
    if "\0" in text:
        raise Refused(ErrorCode.BAD_REQUEST, f"{field} contains U+0000: remove it", field)


class Body(Struct, tag_field="kind", kw_only=True, frozen=True, omit_defaults=True):
    """Base of all message bodies."""


class Text(Body, tag="text", kw_only=True, frozen=True):
    """Plain text, 1 byte to 16 KiB of UTF-8, not blank."""

    text: str

    def __post_init__(self) -> None:
        _check_text(self.text, "text")


class Attachment(Body, tag="attachment", kw_only=True, frozen=True):
    """A file uploaded before over HTTP; `attachment` is the id that the upload answered. `size` in bytes."""

    attachment: Identifier
    name: FileName
    content_type: ContentType
    size: Count
    url: Url
    thumbnail_url: Url | UnsetType = UNSET


class Button(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A button of a card. At most one of `url` (open it), `reply` (send this text), `postback` (tell the server)."""

    id: Identifier
    label: Label
    url: Url | UnsetType = UNSET
    reply: ShortText | UnsetType = UNSET
    postback: ShortText | UnsetType = UNSET

    def __post_init__(self) -> None:
        if (self.url is not UNSET) + (self.reply is not UNSET) + (self.postback is not UNSET) > 1:
            raise Refused(ErrorCode.BAD_REQUEST, "a button has only one of url, reply and postback: keep one", "url")


class Card(Body, tag="card", kw_only=True, frozen=True):
    """A titled card with up to 10 buttons whose ids differ."""

    title: Title
    text: ShortText | UnsetType = UNSET
    image_url: Url | UnsetType = UNSET
    buttons: Annotated[list[Button], Meta(max_length=BUTTONS)]

    def __post_init__(self) -> None:
        _check_distinct([button.id for button in self.buttons], "buttons")


class Option(Struct, kw_only=True, frozen=True):
    """One answer of a `choices` question."""

    id: Identifier
    label: Label


class Choices(Body, tag="choices", kw_only=True, frozen=True):
    """A question with 1 to 10 answers whose ids differ."""

    text: str
    options: Annotated[list[Option], Meta(min_length=1, max_length=BUTTONS)]

    def __post_init__(self) -> None:
        _check_text(self.text, "text")
        _check_distinct([option.id for option in self.options], "options")


class Coupon(Body, tag="coupon", kw_only=True, frozen=True):
    """A voucher. `amount` is a decimal string and needs `currency`; an amountless coupon says it in `description`."""

    code: CouponCode
    description: ShortText
    amount: Decimal | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    expires_at: Time | UnsetType = UNSET
    url: Url | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.amount is not UNSET and self.currency is UNSET:
            raise Refused(ErrorCode.BAD_REQUEST, "an amount needs a currency: add it, for example EUR", "currency")


class TransactionBody(Body, tag="transaction", kw_only=True, frozen=True):
    """Points at one of the user's transactions by the app's own id; facts about it come from the app's server only."""

    transaction: Identifier


def _check_distinct(ids: list[str], field: str) -> None:
    if len(set(ids)) != len(ids):
        raise Refused(ErrorCode.BAD_REQUEST, f"two of the {field} have the same id: give each its own", field)


UserBody = Text | Attachment | TransactionBody
AgentBody = Text | Attachment | Card | Choices | Coupon | TransactionBody
NoteBody = Text | Attachment
