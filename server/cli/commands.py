"""The commands that set up and look after: `migrate`, `doctor`, `app create`, `agent create`.

They work beside a running `deskbell serve`: its embedded database is found through the data folder.
"""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from server.cli.process import load_config, one_line, run_with_database
from server.cli.secret_key import load_secret_key
from server.clock import SystemClock
from server.domain.errors import BadRequest
from server.services.agents import Agents
from server.services.apps import Apps
from server.services.rates import Rates
from server.services.vault import Vault
from server.storage import facts
from server.storage.database import Database
from server.storage.migrate import migrate
from server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.config import Config
    from server.embedded.postgres import EmbeddedPostgres


def _with_database(config: Config, use: Callable[[Database], Awaitable[Any]]) -> Any:
    async def work(url: str, _embedded: EmbeddedPostgres | None) -> Any:
        await migrate(url, SystemClock(), say=get_logger("deskbell").info)
        database = await Database.connect(url, min_connections=1, max_connections=2)
        try:
            return await use(database)
        finally:
            await database.close()

    return run_with_database(config, work, join=True)


@click.command("migrate")
def migrate_command() -> None:
    """Bring the database to the schema of this version. `serve` does so by itself."""
    with one_line():
        config = load_config()

        async def work(url: str, _embedded: EmbeddedPostgres | None) -> int:
            return await migrate(url, SystemClock(), say=lambda line: click.echo(line, err=True))

        applied = run_with_database(config, work, join=True)
        click.echo(f"{applied} migrations applied." if applied else "Nothing to do.")


@click.command()
def doctor() -> None:
    """Look at the configuration and the database, and say what is found."""
    with one_line():
        config = load_config()
        click.echo(f"python      {platform.python_version()} on {platform.platform()}")
        click.echo(f"data        {config.database.data_dir}")
        click.echo(f"database    {'given by DESKBELL_DATABASE_URL' if config.database.url else 'embedded'}")
        found = _with_database(config, facts.of_database)
        click.echo(f"postgresql  {found['postgresql']}, durability {found['durability']}")
        click.echo(
            f"push        {'FCM' if config.push.fcm_credentials else 'recorded only (no DESKBELL_FCM_CREDENTIALS)'}"
        )
        click.echo("All is well.")


@click.group("app")
def app_group() -> None:
    """Apps: the companies' apps that Deskbell serves."""


@app_group.command("create")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def app_create(name: str, as_json: bool) -> None:
    """Make an app and print its server key and the secret its user tokens are signed with. Both are shown once."""
    with one_line():
        config = load_config()
        vault = Vault(load_secret_key(config))
        made = _with_database(config, lambda database: Apps(database, vault, SystemClock()).create(name))
        shown = {
            "app": str(made.app.app_id),
            "server_key": made.server_key,
            "identity": {"kid": made.identity.kid, "alg": made.identity.alg, "secret": made.identity.secret},
        }
        if as_json:
            click.echo(json.dumps(shown))
            return
        click.echo(f"App         {made.app.name}")
        click.echo(f"Id          {shown['app']}")
        click.echo(f"Server key  {made.server_key}    (keep it on your server)")
        click.echo(f"Sign user tokens with {made.identity.alg}, kid {made.identity.kid}, secret {made.identity.secret}")
        click.echo("Neither secret is shown again.")


@click.group("agent")
def agent_group() -> None:
    """Agents: those who answer."""


@agent_group.command("create")
@click.argument("email")
@click.option("--app", "app_id", required=True, help="The app's id.")
@click.option("--role", type=click.Choice(["agent", "supervisor", "admin"]), default="agent", show_default=True)
@click.option("--name", default=None, help="How customers see the agent.  [the part before the @]")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def agent_create(email: str, app_id: str, role: str, name: str | None, as_json: bool) -> None:
    """Make an agent of an app and print a password for the desk and a token for programs. Both are shown once."""
    with one_line():
        config = load_config()

        async def create(database: Database) -> Any:
            clock = SystemClock()
            app = await Apps(database, Vault(load_secret_key(config)), clock).find(_app_id(app_id))
            return await Agents(database, clock, Rates(clock, None, 1.0, "")).create(email, app.app_id, role, name=name)

        made = _with_database(config, create)
        if as_json:
            shown = {"agent": str(made.agent.agent_id), "token": made.token, "password": made.password}
            click.echo(json.dumps(shown))
            return
        click.echo(f"Agent     {made.agent.name} <{made.agent.email}>, {role}")
        click.echo(f"Password  {made.password}    (log in at /desk)")
        click.echo(f"Token     {made.token}")
        click.echo("Neither is shown again.")


def _app_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest("--app is the id that `deskbell app create` printed.", field="app") from None
