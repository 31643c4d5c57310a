"""What users do from a terminal, from `beamdesk login` on. Imports stand inside commands: --help answers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from broker.client.api import Api

HERE = "http://localhost:8080"
ACTIVE = ("requested", "queued", "preparing", "ready")
WAYS = ("browser", "ssh", "rdp", "none")


@click.command()
@click.argument("url", required=False)
@click.option("--open/--no-open", "open_browser", default=True, help="Open the page in the browser.")
def login(url: str | None, open_browser: bool) -> None:
    """Sign in to the Beamdesk at URL from the browser.

    Without URL to the same as before, or to the demo on this computer.
    """
    from broker.client import account, signing_in
    from broker.errors import NotSignedIn

    try:
        before = account.load().url
    except NotSignedIn:
        before = HERE
    signed = signing_in.begin((url or before).rstrip("/"), show=_show_code(open_browser))
    account.save(signed)
    click.echo(f"You are signed in to {signed.url} as {signed.name}, until {signed.until[:10]}.")


def _show_code(open_browser: bool) -> Any:
    def show(code: str, address: str, address_with_code: str) -> None:
        click.echo(f"Open {address} and confirm this code:\n\n    {code}\n", err=True)
        if open_browser:
            click.launch(address_with_code)

    return show


@click.command()
def logout() -> None:
    """Sign out: the token is revoked and forgotten."""
    from broker.client import account
    from broker.errors import NotSignedIn

    try:
        _api().post("/sign-out")
    except NotSignedIn:
        pass
    finally:
        account.forget()
    click.echo("You are signed out.")


@click.command()
@click.argument("environment")
@click.option("--cores", type=click.IntRange(1), help="At least so many.")
@click.option("--memory", "memory_gb", type=click.FloatRange(0, min_open=True), help="At least so many GB.")
@click.option("--gpus", type=click.IntRange(1), help="At least so many.")
@click.option("--gpu-model", help="Of this model.")
@click.option("--location", help="Only there.")
@click.option("--another", is_flag=True, help="Beside a session of the same environment that runs already.")
@click.option("--connect", type=click.Choice(WAYS), default="browser", show_default=True, help="How to open it.")
def launch(environment: str, another: bool, connect: str, **wish: Any) -> None:
    """Launch a desktop of ENVIRONMENT, wait until it is ready, and open it.

    \b
    beamdesk launch ccp4 --cores 8 --connect ssh
    """
    from broker.client import desktops

    api = _api()
    wanted = {name: value for name, value in wish.items() if value is not None}
    session = desktops.launch(api, environment, another=another, wish=wanted, say=_say)
    click.echo(f"Session {session['id']} is ready: {session['title']}.", err=True)
    _open(api, session["id"], connect)


@click.command()
@click.option("--all", "ended", is_flag=True, help="Those that are over, too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def ls(ended: bool, as_json: bool) -> None:
    """List your desktops."""
    import json

    from broker.client import desktops

    api = _api()
    found = api.get("/sessions") + (api.get("/sessions?state=ended") if ended else [])
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif not found:
        click.echo("You have no desktops: `beamdesk launch ENVIRONMENT` launches one. " + desktops.offer(api))
    else:
        click.echo("\n".join(map(desktops.line, found)))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("session", type=int, required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(session: int | None, command: tuple[str, ...]) -> None:
    """Open a shell on the desktop's machine, or run COMMAND there.

    SESSION may be left out where there is one only; then a command begins with --.

    \b
    beamdesk ssh 7
    beamdesk ssh 7 hostname
    """
    from broker.client import desktops

    api = _api()
    desktops.ssh(api, _chosen(api, session), command)


@click.command()
@click.argument("session", type=int, required=False)
@click.option("--save", type=click.Path(dir_okay=False), help="Only write the file here.")
def rdp(session: int | None, save: str | None) -> None:
    """Open the desktop in this computer's RDP program."""
    from broker.client import desktops

    api = _api()
    click.echo(desktops.rdp(api, _chosen(api, session), save))


@click.command()
@click.argument("session", type=int, required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
def end(session: int | None, yes: bool) -> None:
    """End a desktop. What is not saved is lost; files in your home stay."""
    api = _api()
    number = _chosen(api, session)
    if not yes:
        click.confirm(f"End session {number}? What is not saved there is lost.", abort=True)
    api.delete(f"/sessions/{number}")
    click.echo(f"Session {number} is ending.")


@click.command()
@click.argument("session", type=int)
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
def hand_over(session: int, user: str, yes: bool) -> None:
    """Offer the desktop to USER, another member of the group that it counts for. It waits 15 minutes for the answer."""
    from broker.client import handovers

    if not yes:
        click.confirm(f"{handovers.MEANING.format(session=session)}\nOffer it to {user}?", abort=True)
    offer = _api().post(f"/sessions/{session}/handovers", user=user)
    click.echo(f"Session {session} is offered to {offer['receiver_name']} ({offer['receiver']}).")


@click.command()
@click.argument("offer", type=int, required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
def accept(offer: int | None, yes: bool) -> None:
    """Accept a desktop that somebody hands over to you."""
    from broker.client import handovers

    api = _api()
    found = handovers.offered(api, offer)
    click.echo(handovers.in_words(found))
    if not yes:
        click.confirm("Accept it?", abort=True)
    api.post(f"/handovers/{found['id']}", answer="accepted")
    click.echo(f"Session {found['session']} is yours now.")


COMMANDS = (login, logout, launch, ls, ssh, rdp, hand_over, accept, end)


def _api() -> Api:
    from broker.client import account
    from broker.client.api import Api

    return Api.of(account.load())


def _chosen(api: Api, session: int | None) -> int:
    from broker.client import desktops

    return session if session is not None else desktops.only(api)


def _open(api: Api, session: int, way: str) -> None:
    from broker.client import account, desktops

    if way == "ssh":
        desktops.ssh(api, session, ())
    elif way == "rdp":
        click.echo(desktops.rdp(api, session, None))
    elif way == "browser":
        address = f"{account.load().url}/desktop/{session}"
        click.echo(address)
        click.launch(address)


def _say(text: str) -> None:
    click.echo(text, err=True)
