"""The `beamdesk` command. Imports stand inside commands, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from broker.client.commands import COMMANDS
from broker.errors import BrokerError

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


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="The settings file; beamdesk.toml otherwise.")
@click.version_option(package_name="beamdesk")
def main(config: Path | None) -> None:
    """Beamdesk: ready scientific desktops, seconds after a click."""
    import os

    if config is not None:
        os.environ["BEAMDESK_CONFIG"] = str(config.absolute())


for command in COMMANDS:
    main.add_command(command)


def _runtime() -> Runtime:
    from broker.logs import configure
    from broker.runtime import current

    configure()
    return current()


@main.command()
@click.option("--clean", is_flag=True, help="Remove what earlier demos left, their homes included, and stop.")
def demo(clean: bool) -> None:
    """Start everything on this machine: a cloud of its own, Redis, web, gateway, worker and manager."""
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


@main.command()
def gateway() -> None:
    """Carry browsers' desktops."""
    from broker.gateways import browser

    browser.run(_runtime())


@main.command()
def worker() -> None:
    """Work on the queues: build, configure, probe, destroy, finish."""
    from broker import worker as rq_worker

    rq_worker.run(_runtime())


@main.command()
def manager() -> None:
    """Keep pools filled and sessions right; of several managers one leads."""
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
    """Look at the clouds of the settings."""


@cloud.command("check")
@click.argument("name")
@click.option("--build/--no-build", default=True, help="Prove it by one machine, which is removed afterwards.")
def cloud_check(name: str, build: bool) -> None:
    """Say whether the cloud NAME works: sign-in, image, sizes, quota, network and tags, and what to mend."""
    from broker.clouds.check import check
    from broker.configuration import ca
    from broker.errors import NotFound
    from broker.settings import load

    found = load()
    if name not in found.clouds:
        there = ", ".join(found.clouds) or "none"
        raise NotFound(f"The settings have no cloud {name}.", hint=f"They have these: {there}.")
    _show(check(found, name, ca.ensure_keys(found.secrets_dir).user_ca_public, build=build))


@main.group()
def image() -> None:
    """Bake environments' images, so that their machines are configured in a moment."""


@image.command("build")
@click.argument("environment")
@click.argument("cloud")
def image_build(environment: str, cloud: str) -> None:
    """Bake the image of ENVIRONMENT in CLOUD; its pools then try it on one machine first."""
    from broker.pools.bake import bake

    _show(bake(_runtime(), environment, cloud))


@image.command("list")
def image_list() -> None:
    """Show the images, how far each has come into use, and which are behind their roles."""
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
    """Take the image NUMBER out of use, and remove it from its cloud."""
    from broker.pools.bake import remove

    click.echo(f"{remove(_runtime(), number)} is removed.")


def _show(findings: Iterable[Finding]) -> NoReturn:
    """Print the findings as they come; the end says whether all were good."""
    good = True
    for finding in findings:
        good = good and finding.good
        click.echo(f"{'good ' if finding.good else 'WRONG'}  {finding.step:8} {finding.said}")
        if finding.hint:
            click.echo(f"{'':15} {finding.hint}")
    sys.exit(0 if good else 1)


@main.command()
@click.option("--day", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Replay this recorded day.")
@click.option("--facility", type=click.Choice(["isis", "large"]), help="A made-up service, not the settings' pools.")
@click.option("--launches", type=click.IntRange(1, 200_000), help="Launches of a made-up working day.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(["fixed", "advised", "demand", "shared"]),
    help="Only this one; may be given several times.",
)
@click.option("--wait-chance", type=click.FloatRange(0, 1, True, True), help="The share of launches that may wait.")
@click.option("--build-minutes", type=click.FloatRange(0, 600, True), help="How long every machine takes to build.")
@click.option("--faults", "with_faults", is_flag=True, help="An outage, slow builds and failing builds on the day.")
@click.option(
    "--course", type=click.IntRange(1, 10_000), help="A course of so many seats at 14:00, in the largest pool."
)
@click.option("--seed", default=1, help="Another number makes another day.", show_default=True)
@click.option("--report", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots here.")
@click.option("--json", "figures", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures here.")
@click.option(
    "--record", type=click.Path(dir_okay=False, path_type=Path), help="Write the service's own last days here."
)
@click.option(
    "--days", default=30.0, type=click.FloatRange(0, 400, True), help="How many to record.", show_default=True
)
def simulate(
    policies: tuple[str, ...], page: Path | None, figures: Path | None, record: Path | None, days: float, **asked: Any
) -> None:
    """Find good pool sizes: a day of launches under several policies, side by side.

    The day is recorded (--day) or made up, for the pools of the settings or for a made-up service (--facility). The
    policies: fixed sizes as they are set, fixed sizes as advised for the busiest hour, sized by demand, and by demand
    with bases that environments share.

    \b
    beamdesk simulate --report report.html
    beamdesk simulate --facility isis --faults --report report.html
    beamdesk simulate --record day.jsonl && beamdesk simulate --day day.jsonl
    """
    from broker.simulation import command, recording, report

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
    if page is not None:
        click.echo(f"The report is in {page}.")


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
    from broker.identity.rights import Role
    from broker.identity.service import create_account

    person = create_account(
        _runtime(), name, full_name, password, role=Role.ADMIN if admin else Role(role), groups=groups
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

    from broker.identity import service, tokens

    runtime = _runtime()
    wanted = [_right(right) for right in rights]
    secret, row = tokens.make(runtime, service.account(runtime, name), what, wanted, timedelta(days=days))
    click.echo(f"Until {row.expires_at:%Y-%m-%d}, with the rights {', '.join(row.rights or ())}:", err=True)
    click.echo(secret)


@account.command("tokens")
@click.argument("name")
@click.option("--revoke", type=int, help="End the token of this number, and what it opened.")
def account_tokens(name: str, revoke: int | None) -> None:
    """List the API tokens of the account NAME."""
    from broker.identity import service, tokens

    runtime = _runtime()
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
