"""`deskbell serve`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from server.cli.process import StartError, load_config, one_line, run_with_database
from server.cli.serving import serve_node
from server.cli.supervisor import run_workers
from server.cli.worker import Place, run_worker
from server.config import describe_variables
from server.wiring import ROLES

if TYPE_CHECKING:
    from server.embedded.postgres import EmbeddedPostgres
    from server.wiring import Node


@click.command(epilog="\b\nEnvironment, with defaults:\n" + describe_variables())
@click.option("--roles", default=",".join(ROLES), show_default=True, help="What this process does, comma-separated.")
@click.option("--host", default=None, help="Address to listen on.  [127.0.0.1]")
@click.option("--port", type=int, default=None, help="Port of all doors.  [8080]")
@click.option("--gateway-port", type=int, default=None, help="Another port for the sockets.")
@click.option("--workers", type=int, default=None, help="Processes that share the ports.  [1]")
@click.option("--as-worker", default=None, hidden=True, help="How the supervisor starts its workers.")
def serve(
    roles: str,
    host: str | None,
    port: int | None,
    gateway_port: int | None,
    workers: int | None,
    as_worker: str | None,
) -> None:
    """Run Deskbell: with DESKBELL_DATABASE_URL on your PostgreSQL, without it on an embedded one."""
    with one_line():
        place = Place.of(as_worker) if as_worker is not None else None
        # The supervisor has said already what looks like a slip.
        config = load_config(host=host, port=port, gateway_port=gateway_port, workers=workers, warn=place is None)
        wanted = frozenset(role.strip() for role in roles.split(",") if role.strip())
        if not wanted or wanted - set(ROLES):
            raise StartError(f"--roles: choose from {', '.join(ROLES)}", 2)
        if place is not None:
            run_worker(config, place, wanted)
            return
        if config.process.workers > 1:
            run_workers(config, wanted)
            return

        async def work(url: str, embedded: EmbeddedPostgres | None) -> None:
            async def ready(_node: Node, base_url: str) -> None:
                click.echo(f"Deskbell listens on {base_url} (agents: {base_url}/desk)")

            await serve_node(config, url, embedded, wanted, ready=ready)

        run_with_database(config, work)
