"""The `beamdesk` command. Imports stand inside commands, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from broker.audit.command import audit
from broker.client.commands import COMMANDS
from broker.errors import BrokerError
from broker.rotation.command import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.clouds.check import Finding
    from broker.identity.rights import Right
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


for command in COMMANDS:
    main.add_command(command)
main.add_command(audit)
main.add_command(keys)


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


@main.group()
def cloud() -> None:
    """See whether a cloud works.

    \b
    beamdesk cloud check ral               build one machine in [clouds.ral], and remove it
    beamdesk cloud check ral --no-build    only look: nothing is made
    """


@cloud.command("check")
@click.argument("name")
@click.option("--build/--no-build", default=True, show_default=True, help="Prove it by one machine, which goes again.")
def cloud_check(name: str, build: bool) -> None:
    """Say whether the cloud NAME works, and what to mend.

    NAME is that of its table in beamdesk.toml: ral of [clouds.ral]. Each line is one step, good or WRONG: sign-in,
    image, sizes, quota, and with a machine built network, tags and host key. It takes as long as a machine takes to
    build. Exit code 1 where something is wrong.

    \b
    beamdesk cloud check ral
    """
    from broker.clouds.check import check
    from broker.configuration import ca
    from broker.errors import NotFound
    from broker.pools.tunnels import LoneTunnel
    from broker.settings import load

    found = load()
    if name not in found.clouds:
        there = ", ".join(found.clouds) or "none"
        raise NotFound(f"The settings have no cloud {name}.", hint=f"They have these: {there}.")
    dials_out = build and found.clouds[name].reach == "tunnel"
    tunnel = LoneTunnel(_runtime()) if dials_out else None
    _show(check(found, name, ca.trusted(found.secrets_dir).users, build=build, tunnel=tunnel))


@main.group()
def image() -> None:
    """Bake, list and remove environments' images.

    A machine that is built from its environment's image is configured in a moment: the roles have run before.

    \b
    beamdesk image build science ral    bake the image of [environments.science] in [clouds.ral]
    beamdesk image list                 how far each has come into use, and which to bake again
    beamdesk image remove 3             take number 3 of the list out of use
    """


@image.command("build")
@click.argument("environment")
@click.argument("cloud")
def image_build(environment: str, cloud: str) -> None:
    """Bake the image of ENVIRONMENT in CLOUD.

    Both are names of tables in beamdesk.toml; a base may stand for the environment. One machine is built, gets the
    roles, is saved as an image, and goes. A running manager then tries the image on one machine, on a tenth of the
    vacant ones, and uses it everywhere; one that fails is not used. Exit code 1 where a step is WRONG.

    \b
    beamdesk image build science ral
    """
    from broker import command_line
    from broker.pools.bake import bake

    _show(bake(command_line.runtime(), environment, cloud))


@image.command("list")
def image_list() -> None:
    """Show the images and how far each has come into use.

    One that is behind its roles still works, but its machines are configured in full: bake it again.
    """
    from broker.pools import images

    runtime = _runtime()
    with runtime.database.reading() as db:
        found = images.listed(db)
    for one in found:
        behind = "behind its roles" if images.behind(runtime.settings, one) else ""
        about = "; ".join(filter(None, (behind, one.failure)))
        place = f"{one.environment} in {one.cloud}"
        click.echo(f"{one.id:4}  {place:32} revision {one.revision:<4} {one.state:9} {one.made_at:%Y-%m-%d}  {about}")
    if not found:
        click.echo("There are no images: `beamdesk image build ENVIRONMENT CLOUD` bakes one.")


@image.command("remove")
@click.argument("number", type=int)
def image_remove(number: int) -> None:
    """Take an image out of use, and remove it from its cloud.

    NUMBER is the first column of `beamdesk image list`. Machines that were built from it go on.

    \b
    beamdesk image remove 3
    """
    from broker import command_line
    from broker.pools.bake import remove

    click.echo(f"{remove(command_line.runtime(), number)} is removed.")


def _show(findings: Iterable[Finding]) -> NoReturn:
    """Print the findings as they come; the end says whether all were good."""
    good = True
    for finding in findings:
        good = good and finding.good
        click.echo(f"{'good ' if finding.good else 'WRONG'}  {finding.step:8} {finding.said}")
        if finding.hint:
            click.echo(f"{'':15} {finding.hint}")
    sys.exit(0 if good else 1)


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


@main.group()
def account() -> None:
    """Local accounts."""


@account.command("add")
@click.argument("name")
@click.option("--full-name", prompt=True, help="The person's name, as shown.")
@click.option("--group", "groups", multiple=True, help="A group; may be given several times.")
@click.option(
    "--role", type=click.Choice(["user", "support", "operator", "admin", "service"]), default="user", show_default=True
)
@click.option("--admin", is_flag=True, help="The role admin: may steer the service.")
@click.password_option(help="Asked for where it is not given.")
def account_add(name: str, full_name: str, groups: tuple[str, ...], role: str, admin: bool, password: str) -> None:
    """Make the account NAME, or give it these properties and this password.

    A service account is a program's (docs/vmm.md); it cannot sign in.
    """
    from broker import command_line
    from broker.identity.rights import Role
    from broker.identity.service import create_account

    person = create_account(
        command_line.runtime(), name, full_name, password, role=Role.ADMIN if admin else Role(role), groups=groups
    )
    may = "may ask for machines" if person.is_service else "can sign in"
    click.echo(f"{person.name} ({person.full_name}) {may}; groups: {', '.join(sorted(person.groups)) or 'none'}.")


@account.command("token")
@click.argument("name")
@click.option("--for", "what", required=True, help="What uses it, as shown in lists and in the audit log.")
@click.option("--right", "rights", multiple=True, help="A right; may be given several times. It can always read.")
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How long it lasts.")
def account_token(name: str, what: str, rights: tuple[str, ...], days: int) -> None:
    """Print a new API token of the account NAME.

    \b
    beamdesk account token catalogue --for "the data catalogue" --right act
    """
    from datetime import timedelta

    from broker import command_line
    from broker.identity import service, tokens

    runtime = command_line.runtime()
    wanted = [_right(right) for right in rights]
    secret, row = tokens.make(runtime, service.account(runtime, name), what, wanted, timedelta(days=days))
    click.echo(f"Until {row.expires_at:%Y-%m-%d}, with the rights {', '.join(row.rights or ())}:", err=True)
    click.echo(secret)


@account.command("tokens")
@click.argument("name")
@click.option("--revoke", type=int, help="End the token of this number, and what it opened.")
def account_tokens(name: str, revoke: int | None) -> None:
    """List the API tokens of the account NAME."""
    from broker import command_line
    from broker.identity import service, tokens

    runtime = command_line.runtime()
    person = service.account(runtime, name)
    if revoke is not None:
        tokens.revoke(runtime, person, revoke)
    with runtime.database.reading() as db:
        found = tokens.listed(db, person)
    for one in found:
        click.echo(f"{one.id:6}  until {one.expires_at:%Y-%m-%d}  {', '.join(one.rights or ()):30} {one.name}")
    if not found:
        click.echo(f"{name} has no tokens: `beamdesk account token {name}` makes one.")


def _right(name: str) -> Right:
    from broker.errors import InvalidRequest
    from broker.identity.rights import Right

    try:
        return Right(name)
    except ValueError:
        raise InvalidRequest(f"There is no right {name!r}.", hint=f"There are: {', '.join(Right)}.") from None
