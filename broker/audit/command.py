"""`beamdesk audit`. Imports stand inside commands, so that --help answers at once."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from broker.audit.verify import Report
    from broker.runtime import Runtime


class _When(click.ParamType[datetime]):
    """A moment in ISO 8601; UTC where it names no zone."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no moment as 2026-11-21, 2026-11-21T18:00 or 2026-11-21T18:00+01:00.", param, ctx)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@click.group()
def audit() -> None:
    """The audit log: verify that nobody changed it, and export it."""


@audit.command()
@click.option("--head", "known", metavar="SEQ:HASH", help="A head of an earlier look: nothing before it was rewritten.")
def verify(known: str | None) -> None:
    """Compute the chain of all rows anew, and print its head.

    Ends with status 0 where nothing is wrong, else with 1. Keep the head outside of the database: who owns the database
    can write the whole chain anew, or cut off its end, and only a head that is kept elsewhere shows that.
    """
    from broker import command_line
    from broker.audit.chain import head_of
    from broker.audit.verify import verify as look

    head = head_of(known) if known is not None else None
    runtime = command_line.runtime()
    report = look(runtime.database, known=head, progress=_show_progress)
    _write_down(runtime, report)
    for note in report.notes:
        click.echo(f"odd        {note}")
    for finding in report.findings:
        click.echo(f"{finding.what:10} {finding.said}")
    if report.found > len(report.findings):
        click.echo(f"{'':10} {report.found} rows are wrong in all.")
    waiting = f"; {report.waiting} newer ones wait for a seal" if report.waiting else ""
    click.echo(f"The audit log is {'good' if report.good else 'NOT good'}: {report.head.seq} rows are sealed{waiting}.")
    click.echo(f"head {report.head}")
    sys.exit(0 if report.good else 1)


def _write_down(runtime: Runtime, report: Report) -> None:
    """In the log itself; a copy that can only be read is verified all the same."""
    from sqlalchemy.exc import DBAPIError

    from broker.audit import log

    try:
        log.note_look(runtime.database, report)
    except DBAPIError as error:
        click.echo(f"This look could not be written down: {error.orig}", err=True)


def _show_progress(done: int, of: int) -> None:
    """One line that counts up; nothing where nobody looks."""
    if sys.stderr.isatty():
        click.echo(f"\r{done} of {of} rows" + ("\r\033[K" if done >= of else ""), err=True, nl=False)


@audit.command()
@click.option("--since", type=_When(), help="From this moment on (ISO 8601; UTC unless it names a zone).")
@click.option("--until", type=_When(), help="Before this moment.")
@click.option("--actor", help="Of this user, or of the system, or of nobody (who failed to sign in).")
@click.option("--action", help="Of this action, as session:ready, or of a kind, as session.")
@click.option("--subject", help="Of the thing with this id or name.")
@click.option("--client", help='From this address, or from all that begin with it where it ends with "." or ":".')
def export(**asked: Any) -> None:
    """Write rows as JSON lines, the oldest first, each with its seal.

    \b
    beamdesk audit export --since 2026-11-01 --actor alice > november.jsonl
    """
    import json

    from broker import command_line
    from broker.audit import log

    wanted = log.Wanted(**asked)
    runtime = command_line.runtime()
    log.note_export(runtime.database, wanted)
    for line in log.lines(runtime.database, wanted):
        click.echo(json.dumps(line))
