"""`app create`, `agent create`, `migrate`, `doctor` beside a database that runs already.

Starting Python costs a second, so only the first test starts processes; the others call the same commands in this one.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from server.cli import main
from server.cli.secret_key import load_secret_key
from server.config import Config
from server.embedded.postgres import EmbeddedPostgres
from tests.support.clock import FakeClock
from tests.support.services import running_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]


class Installation:
    """A data folder with its PostgreSQL running, as beside `deskbell serve`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.config = Config.load({"DESKBELL_DATA_DIR": str(folder)})

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DESKBELL_")}
        return subprocess.run(
            [sys.executable, "-m", "server.cli", *words],
            env=clean | {"DESKBELL_DATA_DIR": str(self.folder), "DESKBELL_LOG_LEVEL": "warning"} | environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def run(
    installation: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Done]]:
    """Call a command in this process. Logging is set up anew by each, so it is put back at the end."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.setenv("DESKBELL_DATA_DIR", str(installation.folder))
    monkeypatch.setenv("DESKBELL_LOG_LEVEL", "warning")

    def call(*words: str) -> Done:
        try:
            main.main(args=list(words), prog_name="deskbell", standalone_mode=False)
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        else:
            code = 0
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    yield call
    root.handlers, root.level = handlers, level


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    server = EmbeddedPostgres(folder, log=lambda _line: None, settings={"fsync": "off"})
    try:
        yield Installation(folder, server.start())
    finally:
        server.stop()


async def test_what_the_commands_print_opens_every_door(installation: Installation) -> None:
    app = installation.json("app", "create", "Kestrel")
    assert set(app) == {"app", "server_key", "identity"}
    assert set(app["identity"]) == {"kid", "alg", "secret"}
    agent = installation.json("agent", "create", "Robin@example.com", "--app", app["app"], "--role", "admin")
    assert set(agent) == {"agent", "token", "password"}
    key = load_secret_key(installation.config)
    async with running_services(installation.url, secret_key=key, clock=FakeClock()) as world:
        assert str((await world.apps.by_server_key(app["server_key"])).app_id) == app["app"]
        found, _ = await world.agents.log_in("robin@example.com", agent["password"])
        assert str(found.agent_id) == agent["agent"]
        assert (await world.agents.by_token(agent["token"])).agent_id == found.agent_id
        now = int(world.clock.now().timestamp())
        token = jwt.encode(
            {"alg": app["identity"]["alg"], "kid": app["identity"]["kid"]},
            {"sub": "ada", "aud": app["app"], "iat": now, "exp": now + 60},
            OctKey.import_key(app["identity"]["secret"]),
        )
        assert (await world.identity.verify(token)).external_id == "ada"


def test_a_person_is_told_in_words(run: Callable[..., Done]) -> None:
    done = run("app", "create", "Heron")
    assert done.code == 0, done.err
    app = next(line.split()[1] for line in done.out.splitlines() if line.startswith("Id"))
    assert "dbs_" in done.out
    assert "Neither secret is shown again." in done.out
    done = run("agent", "create", "sam@example.com", "--app", app, "--name", "Sam")
    assert "Sam <sam@example.com>, agent" in done.out
    assert "dba_" in done.out


def test_what_cannot_be_done_is_one_line(run: Callable[..., Done]) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    for words, code, said in (
        (("agent", "create", "sam@example.com", "--app", nobody), 1, "deskbell: There is no such app."),
        (("agent", "create", "sam@example.com", "--app", "kestrel"), 1, "deskbell: --app is the id that"),
        (("app", "create", "   "), 1, "deskbell: An app's name is 1 to 100"),
    ):
        done = run(*words)
        assert done.code == code
        assert done.out == ""
        assert done.err.startswith(said)
        assert done.err.count("\n") == 1


def test_an_address_nobody_answers_at_is_one_line_without_the_password(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESKBELL_DATABASE_URL", "postgresql://deskbell:hunter2@127.0.0.1:9/deskbell")
    done = run("migrate")
    assert done.code == 3
    assert done.err.startswith("deskbell: the database cannot be used:")
    assert done.err.count("\n") == 1
    assert "hunter2" not in done.err + done.out


def test_migrating_again_does_nothing_and_the_doctor_is_content(
    run: Callable[..., Done], installation: Installation
) -> None:
    run("migrate")
    assert run("migrate").out == "Nothing to do.\n"
    done = run("doctor")
    assert done.code == 0, done.err
    assert str(installation.folder) in done.out
    assert "durability off" in done.out
    assert done.out.endswith("All is well.\n")
