"""`relay sending`: suspends sending in the store; after a restore or in a clone, resumes it or discards what waits."""

from functools import partial
from pathlib import Path

import click

from relay.cli import Group
from relay.cli.options import command_actor, config_option, read_config
from relay.cli.output import print_json, print_text
from relay.delivery import suspension
from relay.model import to_rfc3339
from relay.process import system_clock
from relay.store import read_only, write_offline


@click.group("sending", cls=Group)
def command() -> None:
    """Say whether the relay sends what waits.

    After `relay restore`, and when the store was last used under another server.public_url or server.instance, the
    relay sends nothing: its deliveries may have been made elsewhere already. Jobs are registered and polled meanwhile.

    Works on the store itself, while relays run or before they start; they follow within a second.

    \b
    Examples:
      relay sending status
      relay sending resume
    """


@command.command("status")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(path: Path | None, as_json: bool) -> None:
    """Show whether sending is suspended, since when and why, and how many deliveries wait.

    \b
    Examples:
      relay sending status
    """
    suspended, waiting = read_only(read_config(path).storage.url, suspension.status)
    if as_json:
        since = to_rfc3339(suspended.since) if suspended else None
        print_json({"suspended": suspended is not None, "since": since, "waiting": waiting})
    elif suspended is None:
        print_text("✓ deliveries are sent")
    else:
        print_text(f"! nothing is sent since {to_rfc3339(suspended.since)}, because {suspended.reason}")
        print_text(f"  waiting deliveries: {waiting:,}; `relay sending resume` sends them, `discard` cancels them")


@command.command("suspend")
@config_option
def suspend(path: Path | None) -> None:
    """Send nothing from now on. Attempts in flight end.

    Use it after you restored a PostgreSQL with its own tools, before the relay starts.

    \b
    Examples:
      relay sending suspend
    """
    actor, now = command_actor(), system_clock()
    work = partial(suspension.suspend, actor=actor, now=now, reason=suspension.BY_HAND)
    suspended = write_offline(read_config(path).storage.url, work)
    print_text("✓ nothing is sent until `relay sending resume`" if suspended else "sending was suspended already")


@command.command("resume")
@config_option
def resume(path: Path | None) -> None:
    """Send what waits, with the same webhook-ids, and all that comes.

    \b
    Examples:
      relay sending resume
    """
    actor, now = command_actor(), system_clock()
    resumed = write_offline(read_config(path).storage.url, partial(suspension.resume, actor=actor, now=now))
    print_text("✓ deliveries are sent" if resumed else "sending was not suspended")


@command.command("discard")
@config_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def discard(path: Path | None, yes: bool) -> None:
    """Cancel what waits since before the suspension, and send all that comes.

    Deliveries of jobs that were registered since are sent. Those of the others are not: also not for a job of which
    the relay learned the end since.

    \b
    Examples:
      relay sending discard
    """
    url, actor, now = read_config(path).storage.url, command_actor(), system_clock()
    suspended, waiting = read_only(url, suspension.status)
    if suspended is None:
        raise click.UsageError("Sending is not suspended, so nothing can be discarded.")
    if not yes:
        click.confirm(f"Cancel {waiting:,} waiting deliveries? Their receivers are not notified", abort=True)
    discarded, more = 0, True
    while more:
        batch = partial(suspension.discard_batch, actor=actor, now=now, discarded=discarded)
        discarded, more = write_offline(url, batch)
    print_text(f"✓ {discarded:,} deliveries are cancelled; all that comes is sent")
