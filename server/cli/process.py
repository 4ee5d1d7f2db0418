"""From a command to a running process and back: configuration, the database, the event loop, and one line for what
goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import asyncpg
import click

from server.config import Config, ConfigError
from server.domain.errors import DomainError, Unavailable
from server.embedded.errors import EmbeddedError
from server.embedded.postgres import EmbeddedPostgres, running_dsn
from server.services.vault import WrongKey
from server.storage.migrate import MigrationError
from server.telemetry import configure_logging, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_DATABASE = 3
EXIT_ADDRESS = 4


class StartError(Exception):
    """The process cannot start; `str()` is one line, `exit_code` says which kind of trouble it is."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Terminated(KeyboardInterrupt):
    """SIGTERM before there was anything to drain. Nothing was promised to anybody yet, so leaving is in good order
    (exit 0), as it is after a drain; a supervisor must not count it as a failure."""


def say_on_stderr(message: str, _exit_code: int) -> None:
    click.echo(f"deskbell: {message}", err=True)


@contextlib.contextmanager
def one_line(tell: Callable[[str, int], None] = say_on_stderr) -> Iterator[None]:
    """Turn what can go wrong at the start into one line and an exit code. Anything else is a bug and shows itself.

    `tell(message, exit_code)` is whom the line is told, if not the person at the terminal.
    """

    def fail(message: str, exit_code: int) -> NoReturn:
        tell(message, exit_code)
        raise SystemExit(exit_code)

    try:
        yield
    except ConfigError as error:
        fail(str(error), error.exit_code)
    except EmbeddedError as error:
        fail(error.message, error.exit_code)
    except StartError as error:
        fail(str(error), error.exit_code)
    except (MigrationError, WrongKey) as error:
        fail(str(error), EXIT_DATABASE)
    except Unavailable as error:
        fail(f"the database cannot be used: {error.message}", EXIT_DATABASE)
    except DomainError as error:
        fail(error.message, EXIT_FAILED)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        fail(f"the database cannot be used: {_first_line(error)}", EXIT_DATABASE)
    except Terminated:
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def load_config(*, warn: bool = True, **overrides: object) -> Config:
    """Read the configuration and set up logging; `warn` of what looks like a slip. Raises ConfigError."""
    config = Config.load(os.environ, None, **overrides)
    configure_logging(config.logging.level, config.logging.format)
    for warning in config.warnings if warn else ():
        get_logger("deskbell").warning(warning)
    return config


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on the fastest event loop there is."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def run_with_database(
    config: Config,
    work: Callable[[str, EmbeddedPostgres | None], Coroutine[Any, Any, T]],
    *,
    join: bool = False,
    settings: Mapping[str, str] | None = None,
) -> T:
    """Run `work(url, embedded)` with the configured PostgreSQL, or with our own for as long as it runs.

    `join`: if another deskbell keeps one running over the same folder, use that. `settings` are for our own.
    """
    told_to_go = False

    def terminate(_signal: int, _frame: object) -> NoReturn:
        nonlocal told_to_go
        told_to_go = True
        raise Terminated

    # Before the event loop has handlers of its own: leave in good order on SIGTERM as on Ctrl-C.
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        if config.database.url is not None:
            return run(work(config.database.url, None))
        if join and (url := running_dsn(config.database.data_dir)) is not None:
            return run(work(url, None))
        log = get_logger("deskbell.postgres")
        embedded = EmbeddedPostgres(config.database.data_dir, log=log.info, settings=settings)
        try:
            url = embedded.start()
            if told_to_go:  # while it forked, where Python ignores what a signal handler raises
                raise Terminated
            return run(work(url, embedded))
        finally:
            embedded.stop()
    finally:
        signal.signal(signal.SIGTERM, previous)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
