"""The one error of the embedded servers, and the exit code of each cause (documented in docs/embedded.md)."""

from __future__ import annotations

from typing import Final

# 80-99: free in sysexits.h (64-78) and below the codes shells use for signals (126 and up).
EXIT_NO_BINARIES: Final = 80
EXIT_IN_USE: Final = 81
EXIT_NOT_WRITABLE: Final = 82
EXIT_DISK_FULL: Final = 83
EXIT_OTHER_VERSION: Final = 84
EXIT_FOREIGN_DIRECTORY: Final = 85
EXIT_CORRUPTED: Final = 86
EXIT_NO_ACCOUNT: Final = 87
EXIT_UNREACHABLE: Final = 88
EXIT_START_FAILED: Final = 89
EXIT_WRONG_THREAD: Final = 90


class EmbeddedError(Exception):
    """An embedded server cannot be used; nothing on disk was destroyed.

    `message` is one line that says what is wrong, where, and what to do. `exit_code` is one of the `EXIT_*` numbers
    above, for the process that gives up because of it.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
