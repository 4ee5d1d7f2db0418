"""A small application that owns an embedded server: the process that the tests interrupt, kill and starve.

    python owner.py DATA_DIR [--file-size-limit BYTES] [--leave] [--valkey]

Prints one JSON object a line: `{"log"}`, then `{"started", "pid", "seconds"}`, or `{"failed", "code"}` and exits with
that code. Stops the server and ends when its standard input ends; with `--leave` it ends without stopping anything. It
owns a PostgreSQL, with `--valkey` a Valkey.
It needs the standard library and `server.embedded` only, so it can run as any user with any Python.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from server.embedded.errors import EmbeddedError
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--file-size-limit", type=int)
    parser.add_argument("--leave", action="store_true")
    parser.add_argument("--valkey", action="store_true")
    options = parser.parse_args()
    if options.file_size_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.file_size_limit, options.file_size_limit))
    kind: type[EmbeddedPostgres | EmbeddedValkey] = EmbeddedValkey if options.valkey else EmbeddedPostgres
    owned = kind(options.data_dir, log=lambda line: say(log=line))
    began = time.monotonic()
    try:
        dsn = owned.start()
    except EmbeddedError as error:
        say(failed=error.message, code=error.exit_code)
        return error.exit_code
    say(started=dsn, pid=owned.pid, seconds=time.monotonic() - began)
    if options.leave:
        return 0
    sys.stdin.read()
    owned.stop()
    say(stopped=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
