"""The server's log file: appended to by PostgreSQL itself, so it survives us; kept small by us."""

from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from server.embedded.account import Account

LIMIT_BYTES = 8 * 1024 * 1024
_LOOK_EVERY_S = 30.0


class ServerLog:
    """`postgres.log` and the one before it, `postgres.log.1`: together at most about twice `limit` bytes.

    The file is copied and truncated in place, because the server holds it open (in append mode, so it goes on at the
    new end). What it writes in the instant between is lost; a log may lose a line, a full disk loses more.
    """

    def __init__(self, path: Path, *, limit: int = LIMIT_BYTES) -> None:
        self.path = path
        self._limit = limit
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None

    def open(self, account: Account) -> int:
        """A descriptor to append to. The caller closes it. Raises `OSError`."""
        # O_NOFOLLOW: root may write here in a directory that is somebody else's.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        account.give(self.path)
        return descriptor

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def since(self, offset: int, *, most: int = 64 * 1024) -> str:
        """What was written after `offset`, at most the last `most` bytes."""
        try:
            with self.path.open("rb") as stream:
                end = stream.seek(0, os.SEEK_END)
                stream.seek(max(offset if offset <= end else 0, end - most))
                return stream.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def rotate_if_large(self) -> bool:
        if self.size() <= self._limit:
            return False
        older = self.path.with_name(self.path.name + ".1")
        target = os.open(older, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(target, "wb") as into, self.path.open("r+b") as out_of:
            # The newest part only: the bound must hold even when a great deal was written since we last looked.
            out_of.seek(-self._limit, os.SEEK_END)
            shutil.copyfileobj(out_of, into)
            out_of.truncate(0)
        return True

    def keep_small(self) -> None:
        """Look after the size in the background until `close`."""
        self._stop.clear()
        self._keeper = threading.Thread(target=self._keep, name="postgres-log", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        self._stop.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None

    def _keep(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                self.rotate_if_large()
            except OSError:
                continue  # a full disk, say: the next look may find it better, and a log must not take the server down
