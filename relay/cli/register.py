"""`relay register`: registers a job, to be notified when it ends."""

from typing import Any

import click
from click.core import ParameterSource

from relay.cli.api_client import Client, client_options, drop_none, from_file, named
from relay.cli.output import print_json, print_text
from relay.config import parsers

_NOBODY = (
    "nobody will be notified of this job: it has no callback URL, and there is no standing endpoint for its events; "
    "register it with --url, or add an endpoint"
)


def _metadata(_context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str] | None:
    if any("=" not in pair for pair in pairs):
        raise click.BadParameter("write NAME=VALUE, such as team=sales")
    return dict(pair.split("=", 1) for pair in pairs) or None


def _url(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    try:
        return parsers.text(text.strip())
    except ValueError as error:
        raise click.UsageError(f"{named(context, option)} {error}") from None


@click.command("register")
@click.argument("job_id")
@click.option(
    "--url",
    "callback_url",
    envvar="RELAY_CALLBACK_URL",
    callback=_url,
    help="Where to POST when the job ends: Slack, Zapier or any URL of yours; or RELAY_CALLBACK_URL.",
)
@click.option(
    "--url-file",
    envvar="RELAY_CALLBACK_URL_FILE",
    type=click.Path(dir_okay=False),
    callback=from_file(parsers.text),
    help="A file with that URL: it stays out of the shell's history; or RELAY_CALLBACK_URL_FILE.",
)
@click.option("--endpoint", help="A standing endpoint, by name or id, instead of --url.")
@click.option("--format", help="The format of the body; by default chosen by the URL's host.")
@click.option("--event", "events", multiple=True, help="Only this event, such as job.completed; repeatable.")
@click.option("--metadata", multiple=True, callback=_metadata, help="NAME=VALUE, sent with the event; repeatable.")
@click.option("--requested-by", help="Who wants the scenario: an e-mail address or a name, sent with the event.")
@click.option("--workspace", help="The Exec workspace, if the relay has several.")
@client_options
def command(client: Client, job_id: str, callback_url: str | None, url_file: str | None, **fields: Any) -> None:
    """Register JOB_ID: the relay watches it at Exec and notifies you when it ends.

    \b
    Examples:
      relay register j1o2b3i4d5x6 --url https://hooks.slack.com/services/T000/B000/XXXX
      relay register j1o2b3i4d5x6 --url https://example.com/callback --metadata team=sales
      relay register j1o2b3i4d5x6 --url-file slack-url.txt
      relay register j1o2b3i4d5x6 --endpoint sales-channel --event job.completed
      relay register j1o2b3i4d5x6                      (for the standing endpoints)
    """
    url = _callback_url(callback_url, url_file, fields["endpoint"])
    registration = client.request(
        "POST", "/v1/registrations", has="job_id", json=drop_none(job_id=job_id, callback_url=url, **fields)
    )
    print_json(registration)
    endpoint = registration.get("endpoint") or {}
    if not endpoint.get("enabled", True):
        print_text(
            f"relay: nothing is sent to {endpoint['url']} for now: it is disabled, because "
            f"{endpoint['disabled_reason']}; deliveries wait until `relay endpoints enable {endpoint['id']}`",
            err=True,
        )
    warnings = registration.get("warnings") or [registration.get("warning")]
    if not endpoint and registration.get("endpoints") == [] and not any(warnings):
        warnings = [_NOBODY]
    for warning in filter(None, warnings):
        print_text(f"relay: {warning}", err=True)


def _callback_url(url: str | None, from_file: str | None, endpoint: str | None) -> str | None:
    """The URL of the command line before that of the environment, which --endpoint overrides. Raises UsageError."""
    context = click.get_current_context()
    values = {"callback_url": url, "url_file": from_file}
    on_command_line = [
        name
        for name, value in values.items()
        if value is not None and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if len(on_command_line) > 1:
        raise click.UsageError("give --url or --url-file, not both")
    if on_command_line:
        return values[on_command_line[0]]
    return None if endpoint is not None else url or from_file
