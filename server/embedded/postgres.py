"""The PostgreSQL that comes along: started, watched and stopped by us. See docs/embedded.md.

Call it from the main thread: on Linux the server is told to stop when the *thread* that spawned it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from server.embedded import pidfile
from server.embedded.account import Account, choose_account
from server.embedded.binaries import Binaries, find_binaries, readable_for
from server.embedded.datadir import PORT, SETTINGS, DataDir
from server.embedded.diagnosis import from_os_error, from_server_log, is_busy, last_words
from server.embedded.errors import EXIT_IN_USE, EXIT_START_FAILED, EXIT_WRONG_THREAD, EmbeddedError
from server.embedded.process import Adopted, ServerProcess, spawn
from server.embedded.serverlog import ServerLog
from server.embedded.wire import (
    CANNOT_CONNECT_NOW,
    DUPLICATE_DATABASE,
    NO_SUCH_DATABASE,
    TOO_MANY_CONNECTIONS,
    Connection,
    Refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

DATABASE = "deskbell"
ROLE = "deskbell"
# A predecessor that was killed may need this long to let go of the directory (facts: one failed restart in a while).
_BUSY_S = 10.0
# A server that answers although its owner is gone is given this long to notice before it is adopted.
_NOTICE_S = 3.0
# No answer at all, not even "starting up", for this long is not a slow recovery but a server that hangs.
_SILENCE_S = 60.0
_PROGRESS_S = 2.0
_POLL_S = 0.01
# After SIGQUIT, and after SIGKILL.
_FORCE_S = 5.0


class EmbeddedPostgres:
    """One PostgreSQL over `<data_dir>/postgres`, created on the first start.

    `log` is given one line at a time, for people. `settings` are added to (and win over) our defaults in
    `datadir.SETTINGS`. `binaries` names a PostgreSQL instead of looking for one.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        log: Callable[[str], None] | None = None,
        settings: Mapping[str, str] | None = None,
        binaries: Binaries | None = None,
    ) -> None:
        self._dir = DataDir(Path(data_dir))
        self._say = log or (lambda _line: None)
        self._settings = {**SETTINGS, **(settings or {})}
        self._binaries = binaries
        self._log = ServerLog(self._dir.log_file)
        self._log_start = 0
        self._process: ServerProcess | None = None
        self._socket_directory = self._dir.cluster
        self._port = PORT

    @property
    def data_dir(self) -> Path:
        return self._dir.path

    @property
    def version(self) -> str:
        """Like `18.6`. Raises `EmbeddedError` when no PostgreSQL is found."""
        if self._binaries is None:
            self._binaries = find_binaries(self._dir.major())
        return self._binaries.version

    @property
    def pid(self) -> int | None:
        """The postmaster's; None when not started."""
        return None if self._process is None else self._process.pid

    @property
    def socket_directory(self) -> Path:
        return self._socket_directory

    @property
    def dsn(self) -> str:
        return dsn_for(self._socket_directory, self._port, DATABASE)

    def start(self) -> str:
        """Bring it up and return a DSN for asyncpg: `postgresql://deskbell@/deskbell?host=<socket
        directory>&port=5432`.

        Returns when a connection was answered and the database `deskbell` exists. Crash recovery may take as long as it
        needs; progress goes to `log`. Raises `EmbeddedError`.
        """
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedError(
                "start the embedded PostgreSQL from the main thread: it is stopped when the thread that started"
                " it ends",
                EXIT_WRONG_THREAD,
            )
        if self._process is not None:
            raise EmbeddedError("this embedded PostgreSQL was started already: call stop() first", EXIT_IN_USE)
        self._dir.prepare()
        account = choose_account(self._dir.path, self._dir.cluster)
        self._dir.lock(account)
        try:
            self._bring_up(account)
        except BaseException:
            self.stop()
            raise
        self._log.keep_small()
        return self.dsn

    def stop(self, timeout: float = 30.0) -> None:
        """Stop it: fast shutdown (SIGINT), after `timeout` seconds without a checkpoint (SIGQUIT), then the kernel's
        way.

        Nothing acknowledged is lost whichever it takes. Harmless when it does not run.
        """
        process, self._process = self._process, None
        try:
            if process is not None:
                for number, patience in (
                    (signal.SIGINT, timeout),
                    (signal.SIGQUIT, _FORCE_S),
                    (signal.SIGKILL, _FORCE_S),
                ):
                    if number != signal.SIGINT and process.poll() is None:
                        self._say(f"PostgreSQL (pid {process.pid}) is slow to stop: {number.name}")
                    process.signal(number)
                    if process.wait(patience) is not None:
                        break
        finally:
            self._dir.remove_socket_directory(self._socket_directory)
            self._log.close()
            self._dir.unlock()

    def poll(self) -> int | None:
        """None while it runs; else how it ended: an exit status, or minus a signal. Raises `EmbeddedError` if not
        started.
        """
        return self._running().poll()

    def wait_dead(self, timeout: float | None = None) -> int | None:
        """Wait until it ends (also by `stop`) and say how, like `poll`; None when it still runs after `timeout`
        seconds.

        Blocks: in asyncio use `asyncio.to_thread`.
        """
        return self._running().wait(timeout)

    def last_words(self) -> str:
        """The last complaint in the server's log since it started, for the message about an unexpected death."""
        return last_words(self._log.since(self._log_start))

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> ServerProcess:
        if self._process is None:
            raise EmbeddedError("the embedded PostgreSQL is not started: call start() first", EXIT_START_FAILED)
        return self._process

    def _bring_up(self, account: Account) -> None:
        began = time.monotonic()
        major = self._dir.major()
        found = self._binaries or find_binaries(major)
        if major is not None:
            self._dir.check_version(major, found)
        self._binaries = found
        usable = readable_for(account, found, self._dir.path / "binaries")
        self._say(
            f"PostgreSQL {usable.version} from"
            f" {usable.source}{'' if usable.bin == found.bin else f', copied to {usable.bin}'}"
        )
        if major is None:
            self._dir.create(usable, account, self._say)
        if self._adopted(account):
            self._ensure_database()
            self._say(f"PostgreSQL was still running (pid {self.pid}): adopted")
            return
        self._dir.protect()
        self._dir.write_settings(self._settings, account)
        self._launch(usable, account)
        self._ensure_database()
        what = "created and started" if major is None else "started"
        self._say(f"PostgreSQL {what} in {time.monotonic() - began:.2f} s at {self._dir.cluster} (pid {self.pid})")

    def _adopted(self, account: Account) -> bool:
        """Wait for a predecessor's server to go away; adopt it if it answers and shows no sign of going."""
        cluster = self._dir.cluster
        began = time.monotonic()
        told = 0.0
        while (found := pidfile.read(cluster)) is not None and pidfile.is_our_server(found.pid, cluster, account):
            waited = time.monotonic() - began
            if not found.stopping and waited > _NOTICE_S and _answers(at := _client_side(found, self._dir), found.port):
                try:
                    self._process = Adopted(found.pid)
                except ProcessLookupError:
                    continue  # it went away after all
                self._socket_directory, self._port = at, found.port
                return True
            if waited > _SILENCE_S:
                raise EmbeddedError(
                    f"another PostgreSQL (pid {found.pid}) uses {cluster} and does not go away: stop it, then"
                    " start again",
                    EXIT_IN_USE,
                )
            if waited - told > _PROGRESS_S:
                told = waited
                self._say(f"waiting for the PostgreSQL of an earlier run (pid {found.pid}) to stop")
            time.sleep(_POLL_S)
        return False

    def _launch(self, binaries: Binaries, account: Account) -> None:
        """Start the server; again for a while, when all that stops it is that its predecessor is not quite gone."""
        self._socket_directory, self._port = self._dir.socket_directory(account), PORT
        for file in (pidfile.path_of(self._dir.cluster), self._socket_directory / f".s.PGSQL.{PORT}.lock"):
            try:
                what = pidfile.make_harmless(file, account)
            except OSError as error:
                raise from_os_error(error, "replace a stale lock file of the database", file) from error
            if what:
                self._say(what)
        deadline = time.monotonic() + _BUSY_S
        while True:
            self._spawn(binaries, account)
            if self._await_answer(self._running()):
                return
            said = self._log.since(self._log_start)
            self._process = None
            if not is_busy(said) or time.monotonic() > deadline:
                full = self._dir.is_full(account)
                raise from_server_log(
                    said, doing="start", cluster=self._dir.cluster, log_file=self._log.path, disk_full=full
                )
            time.sleep(0.1)

    def _spawn(self, binaries: Binaries, account: Account) -> None:
        cluster = self._dir.cluster
        try:
            self._log.rotate_if_large()
            self._log_start = self._log.size()
            output = self._log.open(account)
        except OSError as error:
            raise from_os_error(error, "write the log of the database", self._log.path) from error
        try:
            with self._dir.as_seen_by(account, cluster) as (seen, descriptors):
                sockets = seen if self._socket_directory == cluster else self._socket_directory
                command: list[str | Path] = [binaries.postgres, "-D", seen, "-p", str(PORT)]
                for setting in (
                    "listen_addresses=",
                    f"unix_socket_directories={sockets}",
                    "unix_socket_permissions=0700",
                ):
                    command += ["-c", setting]
                self._process = spawn(command, account, output=output, inherit=descriptors)
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedError(f"cannot run {binaries.postgres}: {error}", EXIT_START_FAILED) from error
        finally:
            os.close(output)

    def _await_answer(self, process: ServerProcess) -> bool:
        """True when the server accepts connections, False when it died."""
        began = heard = told = time.monotonic()
        while process.poll() is None:
            try:
                Connection(self._socket_directory, self._port, user=ROLE, database=DATABASE).close()
                return True
            except Refusal as refusal:
                heard = time.monotonic()
                if refusal.sqlstate in {NO_SUCH_DATABASE, TOO_MANY_CONNECTIONS}:
                    return True
                if refusal.sqlstate != CANNOT_CONNECT_NOW:
                    raise EmbeddedError(
                        f"the PostgreSQL at {self._dir.cluster} refuses us: {refusal.text}", EXIT_START_FAILED
                    ) from refusal
            except OSError:
                pass  # no socket yet, or no answer yet: the deadline below decides
            now = time.monotonic()
            if now - heard > _SILENCE_S:
                raise EmbeddedError(
                    f"PostgreSQL at {self._dir.cluster} gave no answer for {_SILENCE_S:.0f} s; see {self._log.path}",
                    EXIT_START_FAILED,
                )
            if now - told > _PROGRESS_S:
                told = now
                lines = self._log.since(self._log_start).strip().splitlines()
                self._say(
                    f"PostgreSQL is starting up ({now - began:.0f} s): {lines[-1] if lines else 'nothing logged yet'}"
                )
            time.sleep(_POLL_S)
        return False

    def _ensure_database(self) -> None:
        try:
            with Connection(
                self._socket_directory, self._port, user=ROLE, database="postgres", timeout=60
            ) as connection:
                if not connection.query(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"):
                    connection.query(f"CREATE DATABASE {DATABASE}")
        except Refusal as refusal:
            if refusal.sqlstate not in {DUPLICATE_DATABASE, TOO_MANY_CONNECTIONS}:
                raise from_server_log(
                    f"ERROR:  {refusal.text}",
                    doing=f"create the database {DATABASE}",
                    cluster=self._dir.cluster,
                    log_file=self._log.path,
                ) from refusal
        except OSError as error:
            raise EmbeddedError(
                f"PostgreSQL at {self._dir.cluster} stopped answering while it was started ({error}); see"
                f" {self._log.path}",
                EXIT_START_FAILED,
            ) from error


def dsn_for(socket_directory: Path, port: int, database: str) -> str:
    """A DSN for asyncpg over a unix socket; the directory goes into the query because the host part of a URL cannot
    hold a path.
    """
    return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={quote(str(socket_directory), safe='')}&port={port}"


def running_dsn(data_dir: Path) -> str | None:
    """The DSN of the database that another deskbell keeps running over `data_dir`; None when none answers.

    For commands beside a running `deskbell serve`, which holds the directory's lock.
    """
    directory = DataDir(Path(data_dir))
    found = pidfile.read(directory.cluster)
    if found is None or not _answers(at := _client_side(found, directory), found.port):
        return None
    return dsn_for(at, found.port, DATABASE)


def _client_side(found: pidfile.PidFile, directory: DataDir) -> Path:
    # /proc/self/fd/<n> is the cluster to the server and something else to us.
    inside = found.socket_directory.startswith("/proc/") or not found.socket_directory
    return directory.cluster if inside else Path(found.socket_directory)


def _answers(directory: Path, port: int) -> bool:
    try:
        Connection(directory, port, user=ROLE, database="postgres").close()
    except Refusal as refusal:
        return refusal.sqlstate == TOO_MANY_CONNECTIONS
    except OSError:
        return False
    return True
