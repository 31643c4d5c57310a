"""`beamdesk account`. Imports stand inside commands, so that --help answers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from broker.identity.rights import Right


@click.group()
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
