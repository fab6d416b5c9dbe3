"""`relay receive`: a receiver that verifies notifications and prints them."""

import asyncio
import json
import secrets as randomness
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from relay.cli.output import strip_control_chars, to_json
from relay.errors import ValidationFailed
from relay.model import SECOND, to_rfc3339
from relay.process import system_clock
from relay.sandbox import Receiver, Respond, serve
from relay.sandbox.local_server import stop_signals
from relay.sandbox.receiver import Received
from relay.signing import ed25519, standard_webhooks


def _checked(_context: click.Context, _option: click.Parameter, secrets: tuple[str, ...]) -> tuple[str, ...]:
    for secret in secrets:
        try:
            check = (
                ed25519.check_public_key if secret.startswith(ed25519.PUBLIC_PREFIX) else standard_webhooks.check_secret
            )
            check(secret)
        except ValidationFailed as error:
            raise click.BadParameter(error.message) from None
    return secrets


def _from_file(context: click.Context, option: click.Parameter, path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(
            f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"
        ) from None
    if not lines:
        raise click.BadParameter(f"{path} holds no secret")
    return _checked(context, option, tuple(lines))


@click.command("receive")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=4020, show_default=True, help="0: any free port.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    callback=_checked,
    help="Secret or public key to verify with; repeatable. By default a new secret.",
)
@click.option(
    "--secret-file",
    "from_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_from_file,
    help="File with secrets, one a line. They stay out of the shell's history.",
)
@click.option(
    "--status",
    "statuses",
    type=click.IntRange(200, 599),
    multiple=True,
    help="Status code to answer with; repeatable: in this order, then always the last. Default: 204.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each notification as a line of JSON.")
def command(
    host: str,
    port: int,
    secrets: tuple[str, ...],
    from_file: tuple[str, ...],
    statuses: tuple[int, ...],
    as_json: bool,
) -> None:
    """Run a receiver: it accepts notifications on any path, verifies their signatures, and prints them.

    \b
    Examples:
      relay receive                                           makes a secret and prints it
      relay receive --secret whsec_...                        the secret of the registration
      relay receive --secret-file secrets.txt --json
      relay receive --status 500 --status 503 --status 204    fails twice, then accepts
      relay receive --status 410                              is gone for good

    \b
    Then, to be notified of a job:
      relay register JOB_ID --url http://127.0.0.1:4020/    (the relay needs security.allow_http and, for this
                                                             machine, security.allow_networks: [127.0.0.1/32])

    Signatures are verified with the standardwebhooks package, not with the relay's own code. Ctrl-C stops it.
    """
    generated = () if secrets or from_file else (standard_webhooks.new_secret(randomness.token_bytes(32)),)
    printer = _Printer(as_json)
    receiver = Receiver([*secrets, *from_file, *generated], system_clock, listener=printer)
    if statuses:
        receiver.script(*(Respond(status=status) for status in statuses[:-1]))
        receiver.always(Respond(status=statuses[-1]))
    asyncio.run(_run(receiver, printer, host, port, generated))


async def _run(receiver: Receiver, printer: "_Printer", host: str, port: int, generated: tuple[str, ...]) -> None:
    with stop_signals() as stop:
        printer.output_closed = stop.set
        async with serve(receiver.app, host, port) as url:
            click.echo(f"The receiver listens at {url} (any path). Ctrl-C stops it.", err=True)
            for secret in generated:
                click.echo(f"Its secret, to pass when registering: {secret}", err=True)
            await stop.wait()


class _Printer:
    """Prints each notification, and whether its `webhook-id` is a duplicate on this path."""

    def __init__(self, as_json: bool) -> None:
        self.output_closed: Callable[[], None] = lambda: None
        """Called when nobody reads the output any more."""
        self._as_json = as_json
        self._seen: set[tuple[str, str]] = set()

    def __call__(self, received: Received) -> None:
        duplicate = (received.path, received.webhook_id) in self._seen
        if received.webhook_id and received.verified:
            self._seen.add((received.path, received.webhook_id))
        try:
            click.echo(_json_line(received, duplicate) if self._as_json else _line(received, duplicate))
        except BrokenPipeError:
            self.output_closed()


def _line(received: Received, duplicate: bool) -> str:
    job, text = _job_and_text(received.body)
    signature = (
        click.style("✓ verified", fg="green") if received.verified else click.style(f"✗ {received.error}", fg="red")
    )
    at = datetime.fromtimestamp(received.at / SECOND).strftime("%H:%M:%S")
    repeat_mark = "(again)" if duplicate else ""
    parts = (at, f"{received.event_type or '-':13}", f"{job or '-':12}", text, signature, repeat_mark)
    return "  ".join(strip_control_chars(part) if part is not signature else part for part in parts if part)


def _json_line(received: Received, duplicate: bool) -> str:
    job, text = _job_and_text(received.body)
    try:
        body = json.loads(received.body)
    except (ValueError, RecursionError):
        body = received.body.decode("utf-8", "replace")
    line = {
        "at": to_rfc3339(received.at),
        "path": received.path,
        "webhook_id": received.webhook_id,
        "event": received.event_type,
        "job_id": job,
        "about": text,
        "verified": received.verified,
        "why": received.error,
        "again": duplicate,
        "body": body,
    }
    return to_json(line, indent=None)


def _job_and_text(body: bytes) -> tuple[str | None, str]:
    """The job's id, and a text about the job, in any format."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None, ""
    data = _within(message, "data")
    job = _within(data, "job") or data or _within(message, "job") or (message if isinstance(message, dict) else {})
    scenario, error = _within(job, "scenario"), _within(job, "error")
    job_id = _text(job, "id") or _text(message, "job_id")
    names = (
        _text(scenario, "name"),
        _text(message, "scenario_name"),
        _text(error, "message"),
        _text(message, "summary"),
        _text(message, "text"),
        _text(message, "content"),
    )
    return job_id or None, next((name for name in names if name), "")


def _within(value: Any, name: str) -> Mapping[str, Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _text(value: Any, name: str) -> str:
    text = value.get(name) if isinstance(value, dict) else None
    return text if isinstance(text, str) else ""
