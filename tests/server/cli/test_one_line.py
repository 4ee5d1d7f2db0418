"""What goes wrong at the start is one line and an exit code; a bug shows itself whole."""

from __future__ import annotations

import asyncpg
import pytest

from server.cli.process import StartError, Terminated, one_line
from server.config import ConfigError
from server.domain.errors import BadRequest, NotFound, Unavailable
from server.services.vault import WrongKey
from server.storage.migrate import MigrationError


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError("DESKBELL_PORT: no number"), 2, "DESKBELL_PORT: no number"),
        (StartError("cannot listen on 127.0.0.1:80", 4), 4, "cannot listen on 127.0.0.1:80"),
        (StartError("something"), 1, "something"),
        (MigrationError("the database is newer"), 3, "the database is newer"),
        (WrongKey("DESKBELL_SECRET_KEY is not the one"), 3, "DESKBELL_SECRET_KEY is not the one"),
        (NotFound("There is no such app."), 1, "There is no such app."),
        (BadRequest("This is not an e-mail address."), 1, "This is not an e-mail address."),
        (ConnectionRefusedError(111, "Connection refused"), 3, "the database cannot be used: [Errno 111] Connection"),
        (asyncpg.InvalidPasswordError("no such role\nDETAIL: x"), 3, "the database cannot be used: no such role"),
        (asyncpg.InterfaceError(""), 3, "the database cannot be used: InterfaceError"),
        (Unavailable("The database is away."), 3, "the database cannot be used: The database is away."),
        (TimeoutError(), 3, "the database cannot be used: TimeoutError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_trouble_is_one_line(error: Exception, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left, one_line():
        raise error
    assert left.value.code == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"deskbell: {words}")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err


def test_ctrl_c_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left, one_line():
        raise KeyboardInterrupt
    assert left.value.code == 130
    assert capsys.readouterr().err == ""


def test_sigterm_before_there_is_anything_to_drain_is_a_good_end(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left, one_line():
        raise Terminated
    assert left.value.code == 0
    assert capsys.readouterr().err == ""


def test_a_bug_is_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError), one_line():
        raise ZeroDivisionError
