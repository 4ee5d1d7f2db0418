"""`app create`, `agent create`, `migrate`, `doctor` beside a database that runs already, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from server.cli.secret_key import load_secret_key
from server.config import Config
from server.embedded.postgres import EmbeddedPostgres
from tests.support.clock import FakeClock
from tests.support.services import running_services

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def test_a_person_is_told_in_words(installation: Installation) -> None:
    done = installation.run("app", "create", "Heron")
    assert done.returncode == 0, done.stderr
    app = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("Id"))
    assert "dbs_" in done.stdout
    assert "Neither secret is shown again." in done.stdout
    done = installation.run("agent", "create", "sam@example.com", "--app", app, "--name", "Sam")
    assert "Sam <sam@example.com>, agent" in done.stdout
    assert "dba_" in done.stdout


def test_what_cannot_be_done_is_one_line(installation: Installation) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    for words, code, said in (
        (("agent", "create", "sam@example.com", "--app", nobody), 1, "deskbell: There is no such app."),
        (("agent", "create", "sam@example.com", "--app", "kestrel"), 1, "deskbell: --app is the id that"),
        (("app", "create", "   "), 1, "deskbell: An app's name is 1 to 100"),
    ):
        done = installation.run(*words)
        assert done.returncode == code
        assert done.stdout == ""
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1


def test_an_address_nobody_answers_at_is_one_line_without_the_password(installation: Installation) -> None:
    url = "postgresql://deskbell:hunter2@127.0.0.1:9/deskbell"
    done = installation.run("migrate", DESKBELL_DATABASE_URL=url)
    assert done.returncode == 3
    assert done.stderr.startswith("deskbell: the database cannot be used:")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr + done.stdout


def test_migrating_again_does_nothing_and_the_doctor_is_content(installation: Installation) -> None:
    installation.run("migrate")
    assert installation.run("migrate").stdout == "Nothing to do.\n"
    done = installation.run("doctor")
    assert done.returncode == 0, done.stderr
    assert str(installation.folder) in done.stdout
    assert "durability off" in done.stdout
    assert done.stdout.endswith("All is well.\n")
