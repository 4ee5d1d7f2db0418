"""How an outside check reports: steps with ticks, and every broken promise instead of the first."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Report:
    """Collects what does not hold and prints the steps as they pass."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.failures: list[str] = []
        self.steps: list[str] = []
        self._quiet = quiet
        self._step = "before the first step"

    def say(self, line: str) -> None:
        if not self._quiet:
            print(line, flush=True)

    def check(self, holds: object, otherwise: str) -> None:
        """Note a broken promise and go on: one run should show all of them."""
        if not holds:
            self.failures.append(f"{self._step}: {otherwise}")
            self.say(f"      ! {otherwise}")

    @asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[None]:
        self._step = title
        before, began = len(self.failures), time.monotonic()
        try:
            yield
        except BaseException as failure:
            self.failures.append(f"{title}: {type(failure).__name__}: {failure}")
            raise
        finally:
            passed = len(self.failures) == before
            self.steps.append(title)
            self.say(f"  {'✓' if passed else '✗'} {title} ({time.monotonic() - began:.2f} s)")
