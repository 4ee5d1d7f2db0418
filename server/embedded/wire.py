"""Just enough of the PostgreSQL protocol (version 3.0) to ask a server over its socket whether it is there.

A supervisor runs before any event loop, so the asynchronous driver is of no use to it; and that a file or a process
exists is no proof of a server, only an answered connection is. Text queries without parameters; for the supervisor
and the tests' databases, never for application data.
Source: https://www.postgresql.org/docs/current/protocol-flow.html
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

CANNOT_CONNECT_NOW = "57P03"
TOO_MANY_CONNECTIONS = "53300"
NO_SUCH_DATABASE = "3D000"
DUPLICATE_DATABASE = "42P04"


class Refusal(Exception):
    """The server answered, and the answer is an error: SQLSTATE and the server's own text."""

    def __init__(self, sqlstate: str, text: str) -> None:
        super().__init__(f"{text} (SQLSTATE {sqlstate})")
        self.sqlstate = sqlstate
        self.text = text


class Connection:
    """One connection over a unix socket, without a password.

    Raises `Refusal` when the server says no, `OSError` (timeouts included) when there is nobody or nothing comes back.
    """

    def __init__(self, directory: Path, port: int, *, user: str, database: str, timeout: float = 5.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(os.fspath(directory / f".s.PGSQL.{port}"))
            pairs = f"user\0{user}\0database\0{database}\0application_name\0deskbell supervisor\0\0".encode()
            self._socket.sendall(struct.pack("!II", len(pairs) + 8, 196608) + pairs)
            self._until_ready()
        except BaseException:
            self._socket.close()
            raise

    def query(self, sql: str) -> list[list[str | None]]:
        """Run one statement and return its rows as text."""
        payload = sql.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!I", len(payload) + 4) + payload)
        return self._until_ready()

    def close(self) -> None:
        try:
            self._socket.sendall(b"X\0\0\0\x04")
        except OSError:
            pass  # the server hung up first; there is nothing left to say goodbye to
        finally:
            self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _until_ready(self) -> list[list[str | None]]:
        rows: list[list[str | None]] = []
        refusal: Refusal | None = None
        while True:
            kind, payload = self._message()
            if kind == b"E":
                fields = {part[:1]: part[1:].decode(errors="replace") for part in payload.split(b"\0") if part}
                refusal = Refusal(fields.get(b"C", ""), fields.get(b"M", ""))
                # FATAL ends the connection: no ReadyForQuery follows.
                if fields.get(b"V", fields.get(b"S")) in {"FATAL", "PANIC"}:
                    raise refusal
            elif kind == b"R" and payload != b"\0\0\0\0":
                raise Refusal("28P01", "the server asks for a password on its private socket")
            elif kind == b"D":
                rows.append(_row(payload))
            elif kind == b"Z":
                if refusal is not None:
                    raise refusal
                return rows

    def _message(self) -> tuple[bytes, bytes]:
        head = self._exactly(5)
        (length,) = struct.unpack("!I", head[1:])
        return head[:1], self._exactly(length - 4)

    def _exactly(self, count: int) -> bytes:
        buffer = bytearray()
        while len(buffer) < count:
            part = self._socket.recv(count - len(buffer))
            if not part:
                raise ConnectionResetError("the server closed the connection before it answered")
            buffer += part
        return bytes(buffer)


def _row(payload: bytes) -> list[str | None]:
    (count,) = struct.unpack_from("!H", payload)
    row: list[str | None] = []
    at = 2
    for _ in range(count):
        (length,) = struct.unpack_from("!i", payload, at)
        at += 4
        if length < 0:
            row.append(None)
        else:
            row.append(payload[at : at + length].decode())
            at += length
    return row
