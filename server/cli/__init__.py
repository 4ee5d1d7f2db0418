"""The command line (http.md, "Command line")."""

from __future__ import annotations

from importlib.metadata import version

import click

from server.cli.commands import agent_group, app_group, doctor, migrate_command
from server.cli.demo import demo
from server.cli.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("deskbell"), prog_name="deskbell")
def main() -> None:
    """Self-hosted in-app support messaging: a customer asks inside your app, an agent who knows about the ride
    answers."""


main.add_command(demo)
main.add_command(serve)
main.add_command(migrate_command)
main.add_command(doctor)
main.add_command(app_group)
main.add_command(agent_group)
