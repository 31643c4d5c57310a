"""`beamdesk keys`. Imports stand inside commands, so that --help answers at once."""

from __future__ import annotations

import sys

import click


@click.group()
def keys() -> None:
    """The broker's own keys: see them, and replace them while desktops are open.

    \b
    beamdesk keys list
    beamdesk keys rotate user_ca          no open desktop and no certificate in use notices
    beamdesk keys rotate user_ca --now    somebody may have the key: believe it no longer
    """


@keys.command("list")
def list_keys() -> None:
    """Show each key, since when it is as it is, and what its replacing waits for."""
    from broker import command_line
    from broker.rotation import steps

    for key in steps.listed(command_line.runtime()):
        waits = f"; waits for {key.waits_for}" if key.waits_for else ""
        click.echo(f"{key.name:12} {key.step:9} since {key.since:%Y-%m-%d %H:%M} UTC; {key.purpose}{waits}")


@keys.command()
@click.argument("name")
@click.option("--now", "at_once", is_flag=True, help="Of an authority: believe the old key no longer, from now on.")
def rotate(name: str, at_once: bool) -> None:
    """Replace the key NAME of `beamdesk keys list`.

    An authority's new key is believed first, signs when everybody believes it, and the old one is forgotten when
    nothing lives that it signed. The running manager does these steps, which takes as long as sessions live.

    With --now all of it happens at once: certificates and connection files that users have downloaded open nothing
    any more and are downloaded again; desktops in browsers and what is open go on. Exit code 1 where a machine could
    not be told.

    \b
    beamdesk keys rotate host_ca
    """
    from broker import command_line
    from broker.rotation import steps

    runtime = command_line.runtime()
    if not at_once:
        done = steps.begin(runtime, name)
        click.echo(f"{name} is {'replaced' if done else 'being replaced: `beamdesk keys list` shows how far it is'}.")
        return
    left = steps.at_once(runtime, name)
    click.echo(f"{name} is replaced, and its old key is believed no longer.")
    for machine in left:
        click.echo(f"Machine {machine.name} ({machine.address}) could not be told: it is reached no more.", err=True)
    sys.exit(1 if left else 0)
