"""Errors of the system and last words of a server, as one line and an exit code."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from server.embedded import errors
from server.embedded.diagnosis import from_os_error, from_server_log, is_busy, last_words

CLUSTER = Path("/data/postgres")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, errors.EXIT_DISK_FULL),
        (errno.EDQUOT, errors.EXIT_DISK_FULL),
        (errno.EFBIG, errors.EXIT_DISK_FULL),
        (errno.EACCES, errors.EXIT_NOT_WRITABLE),
        (errno.EROFS, errors.EXIT_NOT_WRITABLE),
    ],
)
def test_an_error_of_the_system(number: int, code: int) -> None:
    error = from_os_error(OSError(number, os.strerror(number)), "create the data directory", CLUSTER)
    assert error.exit_code == code
    assert os.strerror(number) in error.message
    assert str(CLUSTER) in error.message
    assert str(error) == error.message


@pytest.mark.parametrize(
    ("log", "code"),
    [
        ('FATAL:  could not write lock file "postmaster.pid": No space left on device', errors.EXIT_DISK_FULL),
        ('PANIC:  could not write to file "pg_wal/xlogtemp.7": No space left on device', errors.EXIT_DISK_FULL),
        ('FATAL:  lock file "postmaster.pid" already exists\nHINT:  Is another?', errors.EXIT_IN_USE),
        ("FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use", errors.EXIT_IN_USE),
        (
            (
                "FATAL:  database files are incompatible with server\n"
                "DETAIL:  The database cluster was initialized with CATALOG_VERSION_NO 202506291"
            ),
            errors.EXIT_OTHER_VERSION,
        ),
        (
            (
                "FATAL:  database files are incompatible with server\n"
                "DETAIL:  The database cluster was initialized with PG_CONTROL_VERSION 0, but"
            ),
            errors.EXIT_CORRUPTED,
        ),
        ("PANIC:  could not locate a valid checkpoint record at 0/1", errors.EXIT_CORRUPTED),
        ('FATAL:  could not open file "global/pg_filenode.map": No such file', errors.EXIT_CORRUPTED),
        ('FATAL:  could not open directory "pg_notify": Permission denied', errors.EXIT_NOT_WRITABLE),
        ('FATAL:  unrecognized configuration parameter "no_such"', errors.EXIT_START_FAILED),
        ("", errors.EXIT_START_FAILED),
    ],
)
def test_the_last_words_of_a_server(log: str, code: int) -> None:
    error = from_server_log(log, doing="start", cluster=CLUSTER, log_file=Path("/data/postgres.log"))
    assert error.exit_code == code
    assert "\n" not in error.message
    assert str(CLUSTER) in error.message
    assert is_busy(log) == (code == errors.EXIT_IN_USE)


def test_a_log_that_could_not_be_written_does_not_hide_a_full_disk() -> None:
    error = from_server_log("", doing="start", cluster=CLUSTER, log_file=None, disk_full=True)
    assert error.exit_code == errors.EXIT_DISK_FULL


def test_the_last_complaint_counts() -> None:
    assert last_words("FATAL:  first\nLOG:  shut down\nFATAL:  second \n") == "second"
    assert last_words("LOG:  all is well") == ""


def test_every_cause_has_a_code_of_its_own() -> None:
    codes = [value for name, value in vars(errors).items() if name.startswith("EXIT_")]
    assert len(codes) == len(set(codes)) == 11
    assert all(79 < code < 126 for code in codes)
