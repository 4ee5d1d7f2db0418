"""The kinds of values a configuration holds, each with its parser: text in, value out.

A parser raises ValueError with what it expected; config.py puts the variable's name in front.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

Network = IPv4Network | IPv6Network
Parser = Callable[[str], object]


class Secret:
    """A text that shows itself only when asked: `reveal()`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class RateLimit(msgspec.Struct, frozen=True):
    """`burst` at once, refilled evenly over `seconds`."""

    burst: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.burst}/{self.seconds:g}"


def whole(low: int, high: int) -> Parser:
    """A whole number, both ends included."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"expected a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return number

    return parse


def seconds(low: float, high: float) -> Parser:
    """Seconds, both ends included."""
    return _number(low, high, "seconds")


def days(low: float, high: float) -> Parser:
    """Days, both ends included."""
    return _number(low, high, "days")


def _number(low: float, high: float, unit: str) -> Parser:
    def parse(text: str) -> float:
        expected = f"expected {unit} from {low:g} to {high:g}"
        try:
            number = float(text)
        except ValueError:
            raise ValueError(expected) from None
        if not low <= number <= high:  # also refuses nan
            raise ValueError(expected)
        return number

    return parse


def one_of(*choices: str) -> Parser:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text.lower()

    return parse


def switch(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError("expected true or false")


def url_of(*schemes: str, bare: bool = False) -> Parser:
    """A URL of one of `schemes`; `bare` refuses query and fragment and drops the trailing slash."""

    def parse(text: str) -> str:
        expected = "expected a URL like " + " or ".join(f"{scheme}://…" for scheme in schemes)
        try:
            parts = urlsplit(text)
            # urlsplit checks a port only when asked, and must not be asked for postgresql://a:1,b:2/ (several hosts)
            _ = parts.port if bare else None
        except ValueError:
            raise ValueError(expected) from None
        if parts.scheme not in schemes:
            raise ValueError(expected)
        if not bare:
            return text
        if not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{expected}, with a host and without ? or #")
        return text.rstrip("/")

    return parse


def folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def secret_key(text: str) -> Secret:
    if len(text) < 32:
        raise ValueError("expected at least 32 characters, e.g. the output of: openssl rand -base64 32")
    return Secret(text)


def credentials(text: str) -> Path | str:
    if text.lstrip().startswith("{"):
        return text
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise ValueError(
            f"expected the path of a service account's JSON file, or that JSON itself; there is no file {path}"
        )
    return path


def networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(item.strip()) for item in text.split(",") if item.strip())
    except ValueError as problem:
        raise ValueError(f"expected networks separated by commas, e.g. 10.0.0.0/8,fd00::/8 ({problem})") from None


def rate(text: str) -> RateLimit | None:
    if text.lower() == "off":
        return None
    burst, slash, seconds = text.partition("/")
    try:
        limit = RateLimit(int(burst), float(seconds))
    except ValueError:
        limit = RateLimit(0, 0)
    if not slash or limit.burst < 1 or not 0 < limit.seconds <= 86_400:
        raise ValueError('expected burst/seconds, e.g. 600/10, or "off"')
    return limit
