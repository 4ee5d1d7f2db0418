"""The data directory: its lock, its layout, and the making of a new cluster so that half a cluster never exists.

<data_dir>/postgres/        the cluster (PGDATA, 0700), with the socket in it
<data_dir>/postgres.log     the server's log, and .1 the one before
<data_dir>/postgres.lock    held (flock) by the deskbell that uses this directory
<data_dir>/postgres.building-*   a cluster being made; renamed when complete, removed by the next start when not
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from server.embedded.diagnosis import from_os_error, from_server_log, is_disk_full
from server.embedded.errors import (
    EXIT_CORRUPTED,
    EXIT_FOREIGN_DIRECTORY,
    EXIT_IN_USE,
    EXIT_NO_ACCOUNT,
    EXIT_NOT_WRITABLE,
    EXIT_OTHER_VERSION,
    EXIT_START_FAILED,
    EXIT_UNREACHABLE,
    EmbeddedError,
)
from server.embedded.process import die_with_parent, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.embedded.account import Account
    from server.embedded.binaries import Binaries

PORT = 5432
# sun_path is 108 bytes on Linux and 104 on macOS, the closing zero included (unix(7)).
_SOCKET_PATH_MAX = 107 if sys.platform == "linux" else 103
# The open files of whichever process asks: a way to a directory that does not walk its path (proc(5)).
_OWN_DESCRIPTORS = Path("/proc/self/fd")

_PROBE_BYTES = 256 * 1024

SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "min_wal_size": "32MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] ",
    "password_encryption": "scram-sha-256",
}


class DataDir:
    """One data directory. Every method raises `EmbeddedError` and nothing else for what can go wrong outside."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.cluster = self.path / "postgres"
        self.log_file = self.path / "postgres.log"
        self.lock_file = self.path / "postgres.lock"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Create the directory, and the folders above it that are missing."""
        missing = [part for part in (self.path, *self.path.parents) if not part.exists()]
        try:
            for part in reversed(missing):
                part.mkdir(mode=0o700 if part == self.path else 0o777, exist_ok=True)
                if os.geteuid() == 0:
                    part.chmod(0o711)  # ours, just made: the user that root drops to must get through, and see nothing
        except OSError as error:
            raise from_os_error(error, "create the data directory", self.path) from error

    def lock(self, account: Account) -> None:
        """Take the directory for this process; the kernel gives it back when we end, however we end."""
        try:
            self._lock = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            account.give(self.lock_file)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip() if self._lock is not None else ""
            self.unlock()
            raise EmbeddedError(
                f"another deskbell{f' (pid {holder})' if holder else ''} uses the data directory {self.path}:"
                " stop it, or set DESKBELL_DATA_DIR to another directory",
                EXIT_IN_USE,
            ) from error
        except OSError as error:
            self.unlock()
            raise from_os_error(error, "write the lock file of the data directory", self.lock_file) from error

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def major(self) -> int | None:
        """The major version of the cluster in here; None when there is no cluster yet."""
        cluster = self.cluster
        try:
            if not cluster.exists() and not cluster.is_symlink():
                return None
            if not cluster.is_dir():
                raise EmbeddedError(
                    f"{cluster} is not a directory but a file or a broken link: move it away, or set DESKBELL_DATA_DIR",
                    EXIT_FOREIGN_DIRECTORY,
                )
            if not any(cluster.iterdir()):
                return None
            version = cluster / "PG_VERSION"
            if not version.is_file():
                raise EmbeddedError(
                    f"{cluster} has files in it but is no PostgreSQL cluster (no PG_VERSION): it was left alone;"
                    " move it away, or"
                    " set DESKBELL_DATA_DIR",
                    EXIT_FOREIGN_DIRECTORY,
                )
            text = version.read_text(errors="replace").strip()
            damaged = not text.isdigit() or not (cluster / "global" / "pg_control").is_file()
        except PermissionError as error:
            raise EmbeddedError(
                f"{cluster} belongs to another user ({error.strerror}): run deskbell as that user, or set"
                " DESKBELL_DATA_DIR",
                EXIT_NOT_WRITABLE,
            ) from error
        except OSError as error:
            raise from_os_error(error, "read the database", cluster) from error
        if damaged:
            raise EmbeddedError(
                f"the database at {cluster} is damaged (PG_VERSION says {text!r}, global/pg_control"
                f" {'is there' if (cluster / 'global' / 'pg_control').is_file() else 'is missing'}): nothing was"
                " changed,"
                " restore it from a backup",
                EXIT_CORRUPTED,
            )
        return int(text)

    def check_version(self, major: int, binaries: Binaries) -> None:
        if major == binaries.major:
            return
        advice = (
            "install the newer deskbell[embedded] again"
            if major > binaries.major
            else f"run it with PostgreSQL {major}, pg_dump it and restore the dump into a new directory"
        )
        raise EmbeddedError(
            f"the database at {self.cluster} was made by PostgreSQL {major}, this is {binaries.version}"
            f" ({binaries.source}):"
            f" it was left alone; {advice}, or set DESKBELL_DATA_DIR",
            EXIT_OTHER_VERSION,
        )

    @contextlib.contextmanager
    def as_seen_by(self, account: Account, directory: Path) -> Iterator[tuple[Path, tuple[int, ...]]]:
        """How a process of the account may name `directory` of ours, and the descriptors it has to inherit for that.

        Below a directory that root alone may enter (/root is 0700) the user that root drops to cannot walk the path. It
        need not: root opens the directory, and `/proc/self/fd/<n>` is that directory for every process that
        inherits it. (Starting it inside the directory would do too, but PostgreSQL before 16 leaves it to look
        for its own program, and then cannot return.)
        """
        if account.can_traverse(self.path):
            yield directory, ()
            return
        if not _OWN_DESCRIPTORS.is_dir():
            raise EmbeddedError(
                f"user id {account.uid}, which root has to drop to, cannot enter {self.path}:"
                " set DESKBELL_DATA_DIR to a directory outside of root's home, or run deskbell as an ordinary user",
                EXIT_UNREACHABLE,
            )
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield _OWN_DESCRIPTORS / str(descriptor), (descriptor,)
        finally:
            os.close(descriptor)

    def create(self, binaries: Binaries, account: Account, log: Callable[[str], None]) -> None:
        """Make the cluster beside its place and rename it when it is complete and synced."""
        if not account.dropped and not _has_name(account.uid):
            raise EmbeddedError(
                f"initdb needs a name for user id {account.uid}: add it to /etc/passwd, run deskbell as a user"
                " that is there, or set"
                " DESKBELL_DATABASE_URL",
                EXIT_NO_ACCOUNT,
            )
        self._sweep(log)
        building = self.path / f"postgres.building-{os.getpid()}"
        try:
            building.mkdir(mode=0o700)
            account.give(building)
            self._initdb(binaries, account, building)
            with (building / "postgresql.conf").open("a") as conf:
                conf.write("\n# Deskbell's defaults, written anew at every start. What follows wins over them.\n")
                conf.write("include_if_exists = 'deskbell.conf'\n")
                conf.flush()
                os.fsync(conf.fileno())
            building.rename(self.cluster)
            _sync_directory(self.path)
        except OSError as error:
            raise from_os_error(error, "create the database", self.cluster) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _initdb(self, binaries: Binaries, account: Account, building: Path) -> None:
        common = ["--username=deskbell", "--encoding=UTF8", "--auth-local=trust", "--auth-host=reject"]
        common += ["--no-instructions"]
        if binaries.major >= 17:
            locales = [["--locale-provider=builtin", "--locale=C.UTF-8"]]
        else:
            # No builtin provider yet, and a system without C.UTF-8 (macOS) has C.
            locales = [["--locale=C.UTF-8"], ["--locale=C"]]
        said = ""
        for locale in locales:
            with self.as_seen_by(account, building) as (seen, descriptors):
                ended = subprocess.run(
                    [binaries.initdb, "-D", seen, *common, *locale],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env=environment(),
                    pass_fds=descriptors,
                    # SIGXFSZ stays ignored, as Python has it: a file size limit is then an error with a text.
                    restore_signals=False,
                    start_new_session=True,
                    preexec_fn=die_with_parent(signal.SIGKILL),
                    umask=0o077,
                    check=False,
                    **account.identity(),
                )
            if ended.returncode == 0:
                return
            said = ended.stdout.decode(errors="replace")
            if "invalid locale" not in said:
                break
        raise from_server_log(said, doing="create the database", cluster=self.cluster, log_file=None)

    def _sweep(self, log: Callable[[str], None]) -> None:
        """Remove what a first start that was killed left behind; under the lock, so nobody is at it but a dying
        initdb.
        """
        deadline = time.monotonic() + 10
        for leftover in self.path.glob("postgres.building-*"):
            while leftover.exists() and time.monotonic() < deadline:
                shutil.rmtree(leftover, ignore_errors=True)
            gone = "removed" if not leftover.exists() else "could not remove"
            log(f"{gone} {leftover.name}, left by a first start that did not finish")

    def protect(self) -> None:
        """Close the cluster to others again where a restore or a volume opened it: PostgreSQL refuses to serve it
        otherwise.
        """
        try:
            if self.cluster.stat().st_mode & 0o077:
                self.cluster.chmod(0o700)
        except OSError as error:
            raise from_os_error(error, "make the database private", self.cluster) from error

    def write_settings(self, settings: dict[str, str], account: Account) -> None:
        """`deskbell.conf`: our defaults. Untouched when unchanged, so that a full disk is no reason not to start."""
        conf = self.cluster / "deskbell.conf"
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        fresh = conf.with_name("deskbell.conf.new")
        try:
            if conf.is_file() and conf.read_text() == text:
                return
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(text)
            account.give(fresh)
            fresh.replace(conf)
        except OSError as error:
            raise from_os_error(error, "write the settings of the database", conf) from error

    def socket_directory(self, account: Account) -> Path:
        """Where the socket goes: into the cluster, or, when that path is too long for one, into a private short
        directory.
        """
        if len(os.fsencode(self.cluster / f".s.PGSQL.{PORT}")) <= _SOCKET_PATH_MAX:
            return self.cluster
        short = Path("/tmp") / f"deskbell-{account.uid}-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}"
        try:
            try:
                short.mkdir(mode=0o700)
                account.give(short)
            except FileExistsError:
                status = short.lstat()
                if status.st_uid != account.uid or status.st_mode & 0o170077 != 0o040000:
                    raise EmbeddedError(
                        f"{short}, for the database's socket, is not a private directory of user id"
                        f" {account.uid}: remove it, or set"
                        " DESKBELL_DATA_DIR to a shorter path",
                        EXIT_START_FAILED,
                    ) from None
        except OSError as error:
            raise from_os_error(error, "create a directory for the database's socket", short) from error
        return short

    def is_full(self, account: Account) -> bool:
        """Whether the disk is why something failed. On a full one the server's log may not hold a word about it."""
        status = os.statvfs(self.path)
        # Of what is left to ordinary users: as root we could still write into the reserve of the file system.
        if account.dropped and status.f_blocks and status.f_bavail * status.f_frsize < _PROBE_BYTES:
            return True
        probe = self.path / "postgres.probe"
        try:
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb", buffering=0) as stream:
                stream.write(bytes(_PROBE_BYTES))
                stream.write(b".")  # a first write may end short; the next one says why
                os.fsync(descriptor)
        except OSError as error:
            return is_disk_full(error)
        finally:
            probe.unlink(missing_ok=True)
        return False

    def remove_socket_directory(self, directory: Path) -> None:
        """After the server has ended. What a killed server left in it stays for the next start, which takes it over."""
        if directory != self.cluster:
            with contextlib.suppress(OSError):
                directory.rmdir()


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
