"""`deskbell demo`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli.process import load_config, one_line, run_with_database
from server.cli.serving import serve_node
from server.demo.kestrel import Kestrel
from server.wiring import ROLES

if TYPE_CHECKING:
    from server.embedded.postgres import EmbeddedPostgres
    from server.wiring import Node


@click.command()
@click.option("--port", type=int, default=None, help="Port of everything.  [8080]")
@click.option(
    "--data", "data", type=click.Path(path_type=Path), default=None, help="Folder that keeps the demo's data."
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready.")
def demo(port: int | None, data: Path | None, as_json: bool) -> None:
    """Everything embedded, a sample ride-hailing app with customers, rides and a live thread."""
    with one_line():
        folder = data or load_config().database.data_dir.with_name("deskbell-demo")
        # Nobody needs a paced farewell from a demo.
        config = load_config(port=port, data_dir=folder.absolute(), drain_seconds=0)
        if not as_json:
            click.echo(f"Starting PostgreSQL and Deskbell; the data is kept in {folder.absolute()} …", err=True)
        kestrel = Kestrel(folder / "demo.json")

        async def work(url: str, embedded: EmbeddedPostgres | None) -> None:
            async def ready(node: Node, base_url: str) -> None:
                shown = await kestrel.facts(base_url)
                click.echo(json.dumps(shown) if as_json else _for_a_person(shown, kestrel.first_thread))
                kestrel.live(node)

            await serve_node(
                config,
                url,
                embedded,
                frozenset(ROLES),
                prepare=kestrel.settle,
                ready=ready,
                demo_session=kestrel.session,
            )

        run_with_database(config, work)


def _for_a_person(shown: dict[str, Any], thread: str) -> str:
    agent = shown["agent"]
    return f"""
Deskbell is up. It is the support desk of Kestrel, a ride-hailing app that exists only here.

  The customer's phone   {shown["phone_url"]}
  The agent's desk       {shown["desk_url"]}
                         log in as {agent["email"]}, password {agent["password"]}

Open both side by side: ask for help about a ride on the phone, answer at the desk.
Or answer the customer who waits already, from a terminal:

  curl -s {shown["url"]}/admin/v1/conversations/{thread}/messages \\
    -H 'Authorization: Bearer {agent["token"]}' -H 'Content-Type: application/json' \\
    -d '{{"body": {{"kind": "text", "text": "Hello, how can I help?"}}}}'

Ctrl-C stops everything; the same command continues where it was.
"""
