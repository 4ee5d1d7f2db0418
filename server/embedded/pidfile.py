"""`postmaster.pid`: what PostgreSQL writes about itself, and whether to believe it.

Lines (src/include/utils/pidfile.h): pid, data directory, start time, port, socket directory, listen address, shared
memory key, status. A single-user backend writes minus its pid.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server.embedded.process import exists

if TYPE_CHECKING:
    from server.embedded.account import Account


@dataclass(frozen=True, slots=True)
class PidFile:
    pid: int
    port: int
    socket_directory: str
    status: str

    @property
    def stopping(self) -> bool:
        return self.status == "stopping"


def path_of(cluster: Path) -> Path:
    return cluster / "postmaster.pid"


def read(cluster: Path) -> PidFile | None:
    """None when there is none, or when it holds no pid (a disk that was full when it was written)."""
    try:
        lines = path_of(cluster).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    lines += [""] * (8 - len(lines))
    try:
        pid = abs(int(lines[0]))
    except ValueError:
        return None
    port = int(lines[3]) if lines[3].strip().isdigit() else 5432
    return PidFile(pid, port, lines[4].strip(), lines[7].strip())


def is_our_server(pid: int, cluster: Path, account: Account) -> bool:
    """Whether the process `pid` is a PostgreSQL that works in `cluster`.

    After a crash, and always in containers where everything has a low pid, the number may belong to any other process
    by now.
    """
    if pid in (os.getpid(), os.getppid()) or not exists(pid):
        return False
    if sys.platform != "linux":
        answer = subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return "postgres" in answer.stdout
    proc = Path("/proc") / str(pid)
    try:
        if proc.stat().st_uid not in (account.uid, 0):
            return False  # the cluster is private to the account: nobody else's process can be its server
        name = proc.joinpath("comm").read_text().strip()
        if proc.joinpath("stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return False
    except OSError:
        return False
    try:
        return os.path.samefile(proc / "cwd", cluster) and name in {"postgres", "postmaster"}
    except OSError:
        return name in {"postgres", "postmaster"}  # its directory is hidden from us: the name has to do


def make_harmless(file: Path, account: Account) -> str:
    """Let a lock file of a server that is gone (`postmaster.pid`, the socket's `.lock`) not stop the next one.

    For a directory we hold, and where no server of ours runs. Returns what was done, for people; empty when nothing
    had to be. PostgreSQL itself replaces a file whose pid is dead. It refuses while any process of that number lives,
    unless that is its own parent. So for a reused number our own pid takes its place, and the rest of the file stays:
    with the shared memory key in it PostgreSQL still checks that no old backend is left over the files. A file
    without a pid (a disk that was full) goes: there is nothing in it. Raises `OSError`.
    """
    try:
        head, newline, rest = file.read_text(errors="replace").partition("\n")
    except FileNotFoundError:
        return ""
    try:
        pid = abs(int(head))
    except ValueError:
        file.unlink()
        return f"removed {file.name}: there was no pid in it"
    if pid == os.getpid() or not exists(pid):
        return ""
    replacement = file.with_name(f"{file.name}.deskbell")
    descriptor = os.open(replacement, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"{os.getpid()}{newline}{rest}")
    account.give(replacement)
    replacement.replace(file)
    return f"{file.name} is stale: its pid {pid} is another program by now"
