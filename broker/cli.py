"""The `beamdesk` command. Imports stand inside commands, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.audit.command import audit
from broker.client.commands import COMMANDS
from broker.errors import BrokerError
from broker.identity.command import account
from broker.pools.command import cloud, image
from broker.rotation.command import keys

if TYPE_CHECKING:
    from broker.runtime import Runtime


class _Group(click.Group):
    """A group whose commands end with a plain sentence where a BrokerError ends them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokerError as error:
            click.echo(f"beamdesk: {error.message}", err=True)
            if error.hint:
                click.echo(error.hint, err=True)
            sys.exit(1)


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=_Group, context_settings=_CONTEXT)
@click.option("--config", type=click.Path(path_type=Path), help="The settings file; beamdesk.toml otherwise.")
@click.version_option(package_name="beamdesk")
def main(config: Path | None) -> None:
    """Beamdesk: ready scientific desktops, seconds after a click."""
    import os

    if config is not None:
        os.environ["BEAMDESK_CONFIG"] = str(config.absolute())


for command in (*COMMANDS, audit, keys, cloud, image, account):
    main.add_command(command)


def _runtime() -> Runtime:
    from broker.logs import configure
    from broker.runtime import current

    configure()
    return current()


@main.command()
@click.option("--clean", is_flag=True, help="Remove what earlier demos left, their homes included, and stop.")
def demo(clean: bool) -> None:
    """Start all of it on this machine, with a cloud of its own.

    Besides the cloud, that is Redis, web, gateway, worker and manager. Ctrl-C ends it.
    """
    from broker import demo as demonstration

    demonstration.clean() if clean else demonstration.run()


@main.command()
def migrate() -> None:
    """Bring the database to the newest version."""
    from broker import migrations

    migrations.migrate(_runtime().database)
    click.echo("The database is up to date.")


@main.command()
def web() -> None:
    """Serve the portal and the API."""
    from broker.serve import web as serve_web

    serve_web(_runtime().settings)


@main.group(invoke_without_command=True)
@click.pass_context
def gateway(ctx: click.Context) -> None:
    """Carry desktops: to browsers, or to what the command names."""
    if ctx.invoked_subcommand is None:
        from broker.gateways import browser

        browser.run(_runtime())


@gateway.command("rdp")
def gateway_rdp() -> None:
    """Carry desktops to Remote Desktop clients."""
    from broker.gateways import rdp

    rdp.run(_runtime())


@gateway.command("ssh")
def gateway_ssh() -> None:
    """Carry SSH connections to machines."""
    from broker.gateways import ssh

    ssh.run(_runtime())


@gateway.command("tunnels")
def gateway_tunnels() -> None:
    """Let machines dial in that nobody can reach.

    Those of clouds with reach = "tunnel"; while there are none, nobody listens.
    """
    from broker.gateways import tunnels

    tunnels.run(_runtime())


@main.command()
def worker() -> None:
    """Work on the queues: build, configure, probe, destroy, finish."""
    from broker import worker as rq_worker

    rq_worker.run(_runtime())


@main.command()
def manager() -> None:
    """Keep pools filled and sessions right.

    Several may run: one leads, and another takes over where it dies.
    """
    from broker import manager as loop

    loop.run(_runtime())


@main.group()
def settings() -> None:
    """Look at the settings."""


@settings.command("check")
def settings_check() -> None:
    """Read the settings and say whether they can be used."""
    from broker.settings import load

    found = load()
    click.echo(
        f"Good: {len(found.environments)} environments in {len(found.pools)} pools on {len(found.clouds)} clouds."
    )


def _new_file(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a file that could not be written before the work of minutes, not after it."""
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.parent}.")
    return value


_NEW_FILE: dict[str, Any] = {"type": click.Path(dir_okay=False, writable=True, path_type=Path), "callback": _new_file}


@main.command()
@click.option("--day", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Replay this recorded day.")
@click.option("--facility", type=click.Choice(["isis", "large"]), help="A made-up service, not the settings' pools.")
@click.option(
    "--launches",
    type=click.IntRange(1, 200_000),
    metavar="NUMBER",
    help="Of a made-up working day.  [default: a busy one]",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(["fixed", "advised", "demand", "shared"]),
    help="Only this one; may be given several times.",
)
@click.option(
    "--wait-chance",
    type=click.FloatRange(1e-6, 1, max_open=True),
    metavar="SHARE",
    help="The share of launches that may wait: 0.01 is one in a hundred.  [default: each pool's own]",
)
@click.option(
    "--build-minutes",
    type=click.FloatRange(0, 600, min_open=True),
    metavar="MINUTES",
    help="How long every machine takes to build.  [default: as recorded, or 10]",
)
@click.option("--faults", "with_faults", is_flag=True, help="An outage, slow builds and failing builds on the day.")
@click.option(
    "--course",
    type=click.IntRange(1, 10_000),
    metavar="SEATS",
    help="A course of so many seats, 14 hours into the day, for 3 hours.",
)
@click.option("--seed", default=1, help="Another number makes another day.", show_default=True)
@click.option("--report", "page", **_NEW_FILE, help="Write a page with plots here.")
@click.option("--json", "figures", **_NEW_FILE, help="Write all figures here.")
@click.option("--record", **_NEW_FILE, help="Simulate nothing: write the service's own last days here.")
@click.option(
    "--days", default=30, type=click.FloatRange(0, 400, min_open=True), help="How many to record.", show_default=True
)
def simulate(
    policies: tuple[str, ...], page: Path | None, figures: Path | None, record: Path | None, days: float, **asked: Any
) -> None:
    """Find good pool sizes: play a day under several policies.

    The day is made up for the pools of the settings, or recorded (--record, then --day), or that of a made-up service
    (--facility). The policies: fixed sizes as they are set, fixed sizes as advised for the busiest hour, sized by
    demand, and by demand with bases that environments share. Shown are who waits, for how long, and what it takes, with
    a word on which to take; docs/simulate.md says how to read it.

    \b
    beamdesk simulate --report report.html               your pools, a made-up day
    beamdesk simulate --record day.jsonl                 on the service: write its last 30 days
    beamdesk simulate --day day.jsonl                    replay the last of them
    beamdesk simulate --faults --course 70 --seed 2      a bad day, with a course
    beamdesk simulate --facility isis --policy demand    a service like that of ISIS
    """
    from broker.simulation import command, recording, report

    if asked["day"] is not None and (asked["facility"] is not None or asked["launches"] is not None):
        raise click.UsageError("--day replays what was recorded: it goes with neither --facility nor --launches.")
    if record is not None:
        runtime = _runtime()
        number = recording.write(record, recording.record(runtime.database, runtime.settings, days))
        click.echo(f"{record}: {number} launches of the last {days:g} days. It names nobody.")
        return
    wanted = command.Asked(**asked)
    found = command.scenario(wanted)
    click.echo(f"{found.title}; {len(found.launches)} launches, of which those of the last day count.")
    results = command.run(found, command.chosen(policies), wanted.seed, _show_progress)
    click.echo("\n".join(report.lines(results, command.wait_chance(found))))
    command.write(found, results, page, figures)
    for file in filter(None, (page, figures)):
        click.echo(f"Written: {file}")


def _show_progress(policy: Any, share: float) -> None:
    """One line that counts up; nothing where nobody looks."""
    if sys.stderr.isatty():
        click.echo(f"\r{policy.title}: {share:4.0%}" + ("\r\033[K" if share >= 1 else ""), err=True, nl=False)
