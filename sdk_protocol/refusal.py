"""Wording for refused frames: what is wrong, with which field, and what to do. Only ever run for frames that failed."""

import re
from typing import Any

from msgspec import ValidationError

_LOCATED = re.compile(r"(?P<what>.*?)(?: - at `(?:key` in `)?\$(?P<path>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_FORBIDDEN = re.compile("[\0\ud800-\udfff]")


def explain(invalid: ValidationError) -> tuple[str, str | None]:
    """Message and dotted field path of a failed typed decode. `None`: the frame as a whole."""
    located = _LOCATED.fullmatch(str(invalid))
    what, path = (located["what"], (located["path"] or "").lstrip(".")) if located else (str(invalid), "")
    if missing := _MISSING.fullmatch(what):
        path = f"{path}.{missing['name']}" if path else missing["name"]
        return f"{path} is missing: add it", path
    what = what[:1].lower() + what[1:]
    if not path:
        return what, None
    if what.startswith("invalid value"):
        return f"{path}: {what} is not one of those the protocol lists here", path
    return f"{path}: {what}", path


def forbidden_character(value: Any, marker: str | None = None) -> tuple[str, str] | None:
    """Path and description of the first string in `value` that holds U+0000 or a lone surrogate, or None.

    `marker` stands for a lone surrogate where the decoder could not deliver one.
    """
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, str):
            if found := _FORBIDDEN.search(item):
                return path, "U+0000" if found[0] == "\0" else f"the lone surrogate U+{ord(found[0]):04X}"
            if marker is not None and marker in item:
                return path, "a lone surrogate"
        elif isinstance(item, dict):
            for key, inner in item.items():
                # A forbidden character in a name cannot be shown as a path: the object that has the name is named.
                waiting.append((path or "the name of a field", key))
                waiting.append((f"{path}.{_name(key)}" if path else _name(key), inner))
        elif isinstance(item, list):
            waiting.extend((f"{path}[{index}]", inner) for index, inner in enumerate(item))
    return None


def _name(key: Any) -> str:
    return key if isinstance(key, str) and _PLAIN_NAME.fullmatch(key) else printable(str(key))


def printable(tag: str) -> str:
    """A client's string, short and harmless enough to be quoted back."""
    return ascii(tag if len(tag) <= 40 else tag[:40] + "…")
