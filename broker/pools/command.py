"""`beamdesk cloud` and `beamdesk image`. Imports stand inside commands, so that --help answers at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.clouds.check import Finding


@click.group()
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
    from broker import command_line
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
    tunnel = LoneTunnel(command_line.runtime()) if dials_out else None
    _show(check(found, name, ca.trusted(found.secrets_dir).users, build=build, tunnel=tunnel))


@click.group()
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
    from broker import command_line
    from broker.pools import images

    runtime = command_line.runtime()
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
