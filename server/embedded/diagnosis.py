"""From what went wrong to one clear line and an exit code: errors of the operating system, and what PostgreSQL logs
when it dies.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from server.embedded.errors import (
    EXIT_CORRUPTED,
    EXIT_DISK_FULL,
    EXIT_IN_USE,
    EXIT_NOT_WRITABLE,
    EXIT_OTHER_VERSION,
    EXIT_START_FAILED,
    EmbeddedError,
)

if TYPE_CHECKING:
    from pathlib import Path

# EFBIG: a file size limit (ulimit -f) is, to a database, a disk that ends early.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_TEXT = re.compile(r"No space left on device|Disk quota exceeded|File too large|File size limit exceeded")
_BUSY_TEXT = re.compile(r'lock file ".*" already exists|pre-existing shared memory block')
_VERSION_TEXT = re.compile(r"database files are incompatible with server")
_CORRUPTED_TEXT = re.compile(
    r"PANIC:  |checkpoint record|incorrect checksum in control file|PG_CONTROL_VERSION 0\b"
    r"|is not a valid data directory|invalid page in block"
    r'|could not (?:open|read) file "(?:global|base|pg_\w+)/|lock file ".*" is empty'
)
_DENIED_TEXT = re.compile(r"Permission denied|Read-only file system|Operation not permitted")
_LAST_WORDS = re.compile(r"(?:FATAL|PANIC|ERROR|error): +(.*)")


def is_disk_full(error: OSError) -> bool:
    return error.errno in _FULL


def from_os_error(error: OSError, doing: str, where: Path) -> EmbeddedError:
    """`doing` completes "cannot …", e.g. "create the data directory"."""
    reason = error.strerror or str(error)
    if is_disk_full(error):
        return EmbeddedError(
            f"the disk is full: cannot {doing} at {where} ({reason}): free some space and start again", EXIT_DISK_FULL
        )
    return EmbeddedError(
        f"cannot {doing} at {where} ({reason}): make it writable for this user or set DESKBELL_DATA_DIR to"
        " another directory",
        EXIT_NOT_WRITABLE,
    )


def is_busy(log: str) -> bool:
    """Whether the server refused because another one has not quite gone yet: worth another attempt."""
    return _BUSY_TEXT.search(log) is not None


def last_words(log: str) -> str:
    """The last complaint in a server's log, without its time stamp; empty when there is none."""
    said = _LAST_WORDS.findall(log)
    return str(said[-1]).strip() if said else ""


def from_server_log(
    log: str, *, doing: str, cluster: Path, log_file: Path | None, disk_full: bool = False
) -> EmbeddedError:
    """Why `initdb` or `postgres` ended, from its output. `doing` completes "PostgreSQL could not …".

    `disk_full` is what the caller saw for itself: a log on a full disk may end before it says so.
    """
    said = last_words(log) or (log.strip().splitlines() or ["it said nothing"])[-1].strip()
    see = f"; see {log_file}" if log_file is not None else ""
    if disk_full or _FULL_TEXT.search(log):
        return EmbeddedError(
            f"the disk is full: PostgreSQL could not {doing} at {cluster} ({said}): free some space and start"
            " again, nothing is lost",
            EXIT_DISK_FULL,
        )
    if is_busy(log):
        return EmbeddedError(
            f"another PostgreSQL still uses {cluster} ({said}): stop it, then start again", EXIT_IN_USE
        )
    if _CORRUPTED_TEXT.search(log):
        return EmbeddedError(
            f"the database at {cluster} is damaged ({said}): nothing was changed, restore it from a backup{see}",
            EXIT_CORRUPTED,
        )
    if _VERSION_TEXT.search(log):
        return EmbeddedError(f"{cluster} belongs to another version of PostgreSQL ({said})", EXIT_OTHER_VERSION)
    if _DENIED_TEXT.search(log):
        return EmbeddedError(
            f"PostgreSQL could not {doing} at {cluster} ({said}): check who owns the files there{see}",
            EXIT_NOT_WRITABLE,
        )
    return EmbeddedError(f"PostgreSQL could not {doing} at {cluster} ({said}){see}", EXIT_START_FAILED)
