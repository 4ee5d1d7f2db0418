"""How often CPython looks for cyclic garbage."""

from __future__ import annotations

import gc

YOUNG = 50_000
"""Objects made and not yet gone before the young ones are looked over. What a message makes is freed by counting
references; at CPython's 700 a busy node spent an eighth of its time looking for cycles that are not there
(docs/performance.md)."""


def settle() -> None:
    """Call once, when everything is imported and built: that stays, so it need not be looked over again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)
