"""Who runs an embedded server: ourselves, or an unprivileged user when we are root (PostgreSQL refuses to
run as root)."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from server.embedded.errors import EXIT_NO_ACCOUNT, EmbeddedError

if TYPE_CHECKING:
    from pathlib import Path

# `postgres` first: where it exists it was made for this. `nobody` exists everywhere else.
_CANDIDATES = ("postgres", "nobody")


class Identity(TypedDict, total=False):
    """The keyword arguments of `subprocess` that change the user; empty when we stay who we are."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system user of the server. `dropped` says that it is not us: we are root and it is not."""

    uid: int
    gid: int
    dropped: bool

    def identity(self) -> Identity:
        return Identity(user=self.uid, group=self.gid, extra_groups=[]) if self.dropped else Identity()

    def give(self, path: Path) -> None:
        """Hand one of *our own* files or directories to the account (not recursive, never a parent)."""
        if self.dropped:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def _allowed(self, path: Path, bit: int) -> bool:
        status = path.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & (bit << 6))
        if status.st_gid == self.gid:
            return bool(status.st_mode & (bit << 3))
        return bool(status.st_mode & bit)

    def can_traverse(self, directory: Path) -> bool:
        """Whether every directory from the root down to `directory` lets the account through (mode bits only)."""
        if not self.dropped:
            return True
        real = directory.resolve()
        return all(self._allowed(part, stat.S_IXOTH) for part in (real, *real.parents))

    def can_read(self, file: Path) -> bool:
        if not self.dropped:
            return True
        real = file.resolve()
        return self.can_traverse(real.parent) and self._allowed(real, stat.S_IROTH)


def choose_account(
    data_dir: Path, cluster: Path, *, what: str = "PostgreSQL", variable: str = "DESKBELL_DATABASE_URL"
) -> Account:
    """Ourselves, unless we are root: then the owner of the cluster, else of `data_dir`, else `postgres` or `nobody`.

    `what` is to run and `variable` does without it, for the message.

    Raises `EmbeddedError` (`EXIT_NO_ACCOUNT`) when root finds no unprivileged user to drop to.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), dropped=False)
    for owned in (cluster, data_dir):
        try:
            status = owned.stat()
        except FileNotFoundError:
            continue
        if status.st_uid != 0:
            return Account(status.st_uid, _primary_group(status.st_uid, status.st_gid), dropped=True)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid, dropped=True)
    raise EmbeddedError(
        f"{what} does not run as root and neither a user `postgres` nor `nobody` exists: run deskbell as an"
        " ordinary user,"
        f" or set {variable}",
        EXIT_NO_ACCOUNT,
    )


def _primary_group(uid: int, fallback: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return fallback
