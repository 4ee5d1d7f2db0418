"""A node whose wall clock is wrong: `python -m tests.faults.skewed_node FILE serve --port …`.

FILE holds one double (native byte order): by how many seconds the clock is ahead. It is read at every look at the
clock, so whoever writes it steps the clock of the running node. The monotonic clock stays right, as it does when NTP or
an operator sets a machine's time.
"""

from __future__ import annotations

import mmap
import struct
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from server.cli import main
from server.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = struct.calcsize("d")


class ClockFile:
    """The file, from the side of whoever sets the clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """The clock is this far ahead from now on."""
        # In place: the node has this very file mapped.
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.write(struct.pack("d", seconds))


def skewed(path: Path) -> Callable[[SystemClock], datetime]:
    """`SystemClock.now` of a node whose clock file is `path`."""
    true = SystemClock.now
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), SIZE, prot=mmap.PROT_READ)

    def now(self: SystemClock) -> datetime:
        (ahead,) = struct.unpack_from("d", mapped)
        return true(self) + timedelta(seconds=ahead)

    return now


if __name__ == "__main__":
    if len(sys.argv) < 3 or not Path(sys.argv[1]).is_file():
        sys.exit("usage: python -m tests.faults.skewed_node FILE serve …    FILE: made by ClockFile")
    SystemClock.now = skewed(Path(sys.argv[1]))  # type: ignore[method-assign, assignment]  # the point of this program
    main(args=sys.argv[2:], prog_name="deskbell")
