"""`relay receive`: a receiver that verifies what comes, and prints it."""

import asyncio
import json
import secrets as randomness
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from relay.cli.table import strip_control_chars
from relay.errors import ValidationFailed
from relay.model import SECOND, to_rfc3339
from relay.sandbox.local_server import serve, stop_signals
from relay.sandbox.receiver import Received, Receiver, Respond
from relay.signing import ed25519, standard_webhooks
from relay.store.engine.clock import system_clock


def _checked(_context: click.Context, _option: click.Parameter, secrets: tuple[str, ...]) -> tuple[str, ...]:
    for secret in secrets:
        try:
            check = (
                ed25519.check_public_key if secret.startswith(ed25519.PUBLIC_PREFIX) else standard_webhooks.check_secret
            )
            check(secret)
        except ValidationFailed as wrong:
            raise click.BadParameter(wrong.message) from None
    return secrets


def _from_file(context: click.Context, option: click.Parameter, path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(
            f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is no text'}"
        ) from None
    if not lines:
        raise click.BadParameter(f"{path} holds no secret")
    return _checked(context, option, tuple(lines))


@click.command("receive")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=4020, show_default=True, help="0: any free one.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    callback=_checked,
    help="Secret or public key that verifies; repeatable. None: one is made.",
)
@click.option(
    "--secret-file",
    "from_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_from_file,
    help="File with secrets, one a line: they stay out of the shell's history.",
)
@click.option(
    "--status",
    "statuses",
    type=click.IntRange(200, 599),
    multiple=True,
    help="Answer with this; repeatable: in this order, the last one for ever. 204 unless given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each.")
def command(
    host: str,
    port: int,
    secrets: tuple[str, ...],
    from_file: tuple[str, ...],
    statuses: tuple[int, ...],
    as_json: bool,
) -> None:
    """Run a receiver: it takes notifications on any path, verifies their signatures, and prints them.

    \b
    Examples:
      relay receive                                           makes a secret and prints it
      relay receive --secret whsec_...                        as given when registering
      relay receive --secret-file secrets.txt --json
      relay receive --status 500 --status 503 --status 204    fails twice, then is fine
      relay receive --status 410                              is gone, and stays so

    \b
    Then, to hear of a job:
      relay register JOB_ID --url http://127.0.0.1:4020/    (the relay needs security.allow_http and, for this
                                                             machine, security.allow_networks: [127.0.0.1/32])

    Signatures are verified with the standardwebhooks package, not with the relay's own code. Ctrl-C stops it.
    """
    made = () if secrets or from_file else (standard_webhooks.new_secret(randomness.token_bytes(32)),)
    printer = _Printer(as_json)
    receiver = Receiver([*secrets, *from_file, *made], system_clock, listener=printer)
    if statuses:
        receiver.script(*(Respond(status=status) for status in statuses[:-1]))
        receiver.always(Respond(status=statuses[-1]))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    asyncio.run(_run(receiver, printer, host, port, made))


async def _run(receiver: Receiver, printer: "_Printer", host: str, port: int, made: tuple[str, ...]) -> None:
    with stop_signals() as stop:
        printer.gone = stop.set
        async with serve(receiver.app, host, port) as url:
            click.echo(f"A receiver listens at {url} (any path). Ctrl-C stops it.", err=True)
            for secret in made:
                click.echo(f"Its secret, to give when registering: {secret}", err=True)
            await stop.wait()


class _Printer:
    """Prints each notification, and whether its `webhook-id` came to this path before."""

    def __init__(self, as_json: bool) -> None:
        self.gone: Callable[[], None] = lambda: None
        """Called when nobody reads the output any more."""
        self._as_json = as_json
        self._known: set[tuple[str, str]] = set()

    def __call__(self, one: Received) -> None:
        again = (one.path, one.webhook_id) in self._known
        if one.webhook_id and one.verified:
            self._known.add((one.path, one.webhook_id))
        try:
            click.echo(_json_line(one, again) if self._as_json else _line(one, again))
        except BrokenPipeError:
            self.gone()


def _line(one: Received, duplicate: bool) -> str:
    job, what = _job_and_text(one.body)
    verdict = click.style("✓ verified", fg="green") if one.verified else click.style(f"✗ {one.error}", fg="red")
    at = datetime.fromtimestamp(one.at / SECOND).strftime("%H:%M:%S")
    parts = (at, f"{one.event_type or '-':13}", f"{job or '-':12}", what, verdict, "(again)" if duplicate else "")
    return "  ".join(strip_control_chars(part) if part is not verdict else part for part in parts if part)


def _json_line(one: Received, duplicate: bool) -> str:
    job, what = _job_and_text(one.body)
    try:
        body = json.loads(one.body)
    except (ValueError, RecursionError):
        body = one.body.decode("utf-8", "replace")
    told = {
        "at": to_rfc3339(one.at),
        "path": one.path,
        "webhook_id": one.webhook_id,
        "event": one.event_type,
        "job_id": job,
        "about": what,
        "verified": one.verified,
        "why": one.error,
        "again": duplicate,
        "body": body,
    }
    return json.dumps(told, ensure_ascii=False)


def _job_and_text(body: bytes) -> tuple[str | None, str]:
    """The job's id, and in words what it is about, whatever the format."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None, ""
    data = _within(found, "data")
    job = _within(data, "job") or data or _within(found, "job") or (found if isinstance(found, dict) else {})
    scenario, error = _within(job, "scenario"), _within(job, "error")
    job_id = _text(job, "id") or _text(found, "job_id")
    names = (
        _text(scenario, "name"),
        _text(found, "scenario_name"),
        _text(error, "message"),
        _text(found, "summary"),
        _text(found, "text"),
        _text(found, "content"),
    )
    return job_id or None, next((name for name in names if name), "")


def _within(found: Any, name: str) -> Mapping[str, Any]:
    inner = found.get(name) if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else {}


def _text(found: Any, name: str) -> str:
    text = found.get(name) if isinstance(found, dict) else None
    return text if isinstance(text, str) else ""
