"""Shortening what a person wrote so that it fits and still reads: pure, used by push/payload.py.

A cut never falls inside what a reader sees as one character (an emoji family, a flag, a letter with its accents), and
never leaves a right-to-left override open behind it, which would turn round the words the phone shows next to ours.
"""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ELLIPSIS = "…"
MAX_CLUSTER = 32
"""Code points taken as one character. UAX #15 (Stream-Safe Text) allows 30 combining marks in a row; the longest emoji
sequences in use have about 10. Whoever stacks more gets cut in the middle, which is what bounds a "character"."""
MIN_BUDGET = 4 * MAX_CLUSTER + 100
"""Bytes that hold one character of any kind, its ellipsis, and the closers of the controls inside it."""

_ZWJ = "\u200d"
_PDF, _PDI = "\u202c", "\u2069"
_BIDI_CLOSERS = {
    **dict.fromkeys("\u202a\u202b\u202d\u202e", _PDF),  # embeddings and overrides (UAX #9, 2.1 and 2.2)
    **dict.fromkeys("\u2066\u2067\u2068", _PDI),  # isolates (UAX #9, 2.4)
}


def json_bytes(text: str) -> int:
    """Bytes `text` takes inside a JSON string, escapes included, quotes not; UTF-8, as firebase-admin sends it."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8")) - 2


def clean(text: str) -> str:
    """`text` as every provider accepts it: no lone surrogates (not encodable), no control characters but line breaks.

    A NUL or an escape has nothing to show, takes six bytes in JSON, and some providers answer 400 to it.
    """
    encodable = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    kept = ("\n" if c in "\n\u2028\u2029" else " " if c in "\t\r" else c for c in encodable.replace("\r\n", "\n"))
    return "".join(c for c in kept if c == "\n" or unicodedata.category(c) != "Cc").strip()


def shorten(text: str, budget: int) -> str:
    """`text` in at most `budget` bytes of JSON (see `json_bytes`), cut between characters and ended with an ellipsis.

    Raises ValueError if the budget could not hold one character of the longest kind.
    """
    if budget < MIN_BUDGET:
        raise ValueError(f"budget must be at least {MIN_BUDGET} bytes to hold any one character, not {budget}")
    if len(text) <= budget and json_bytes(text) <= budget:
        return text
    spent, end, best, open_controls = 0, 0, "", list[str]()
    for cluster in clusters(text):
        spent += json_bytes(cluster)
        if spent > budget:
            break
        end += len(cluster)
        for c in cluster:
            if c in _BIDI_CLOSERS:
                open_controls.append(_BIDI_CLOSERS[c])
            elif c == _PDI and c in open_controls:
                # It also ends the embeddings opened inside the isolate.
                del open_controls[len(open_controls) - 1 - open_controls[::-1].index(c) :]
            elif c == _PDF and open_controls[-1:] == [c]:  # never reaches out of an isolate
                open_controls.pop()
        tail = ELLIPSIS + "".join(reversed(open_controls))
        if spent + json_bytes(tail) <= budget:
            best = text[:end].rstrip() + tail
    return best or ELLIPSIS


def clusters(text: str) -> Iterator[str]:
    """The characters of `text` as a reader counts them; joined again they are `text`.

    The part of UAX #29's grapheme rules that matters in messages: combining marks, joiners, emoji with skin tones and
    tags, flags, Hangul syllables, CR LF. At most `MAX_CLUSTER` code points each.
    """
    start, flags = 0, 0
    for i, c in enumerate(text):
        if i > start and (i - start >= MAX_CLUSTER or not _joins(text[i - 1], c, flags)):
            yield text[start:i]
            start, flags = i, 0
        flags += _is_flag_letter(c)
    if text:
        yield text[start:]


def _joins(before: str, c: str, flags: int) -> bool:
    if c < "\u0300":
        return before == "\r" and c == "\n"
    if before == _ZWJ or c == _ZWJ or unicodedata.category(c) in ("Mn", "Me", "Mc"):
        return before not in "\r\n"
    if "\U0001f3fb" <= c <= "\U0001f3ff" or "\U000e0020" <= c <= "\U000e007f":  # skin tones, tags of subdivision flags
        return True
    if _is_flag_letter(c):
        return _is_flag_letter(before) and flags % 2 == 1
    return "\u1160" <= c <= "\u11ff" or "\ud7b0" <= c <= "\ud7ff"  # vowels and finals of a Hangul syllable


def _is_flag_letter(c: str) -> bool:
    return "\U0001f1e6" <= c <= "\U0001f1ff"
