"""`relay endpoints`: lists, adds, tests and changes the endpoints of a running relay."""

import re
from typing import Any

import click

from relay import formats
from relay.cli import Group
from relay.cli.api_client import Client, client_options, drop_none, list_options
from relay.cli.endpoint_options import field_options, file_option, request_fields
from relay.cli.output import print_json, print_text
from relay.cli.table import Column
from relay.config import parsers
from relay.errors import RelayError
from relay.model import PULL_URL, EventType
from relay.suggestions import did_you_mean_or_list

_REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,100}")
_PREFIX = "job."


def _state(row: dict[str, Any]) -> str:
    if not row["enabled"]:
        return "disabled"
    return "failing" if row["failures"] else "enabled"


def _success(row: dict[str, Any]) -> str | None:
    """Rounded down: 100% means that no attempt failed."""
    counted = row.get("last_day") or {"attempts": 0}
    return f"{100 * counted['succeeded'] // counted['attempts']}%" if counted["attempts"] else None


_COLUMNS: dict[str, Column[dict[str, Any]]] = {
    "endpoint": Column(lambda row: row["id"]),
    "name": Column(lambda row: row["name"], flexible=True),
    "format": Column(lambda row: row["format"]),
    "state": Column(_state),
    "success": Column(_success),
    "events": Column(
        lambda row: ",".join(row["events"]),
        short=lambda text: text.replace(_PREFIX, "").replace(",", ", "),
        flexible=True,
        optional=True,
    ),
    "to": Column(lambda row: row["url"], flexible=True, optional=True),
}


@click.group("endpoints", cls=Group)
def command() -> None:
    """List, add, test and change endpoints: where notifications go.

    A standing endpoint is notified of every registered job. Endpoints of the configuration file can be tested, disabled
    and enabled here, and are changed there.

    \b
    Examples:
      relay endpoints add https://hooks.slack.com/services/T000/B000/XXXX --name sales-channel
      relay endpoints test sales-channel --event job.failed
      relay endpoints list
    """


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Those of single jobs too, which registrations made.")
@list_options
@client_options
def list_endpoints(client: Client, every: bool, **page: Any) -> None:
    """List standing endpoints, newest first. The success is that of the attempts of the last 24 hours.

    \b
    Examples:
      relay endpoints list
      relay endpoints list --all --json
    """
    kind = None if every else "standing"
    client.show(client.request("GET", "/v1/endpoints", has="data", params=drop_none(kind=kind, **page)), _COLUMNS)


@command.command("show")
@click.argument("endpoint")
@client_options
def show(client: Client, endpoint: str) -> None:
    """Show ENDPOINT, a name or an id, in full. Its URL is masked, and its secret left out.

    \b
    Examples:
      relay endpoints show sales-channel
    """
    print_json(client.request("GET", f"/v1/endpoints/{_id_of(client, endpoint)}", has="id"))


@command.command("add")
@click.argument("url", required=False)
@field_options
@file_option(
    "--secret-file", "secret", parsers.text, "A file with the secret that signs; by default the relay makes one."
)
@click.option("--signing", type=click.Choice(["hmac", "ed25519"]), help="How the relay's own secret signs.")
@client_options
def add(client: Client, **options: Any) -> None:
    """Add an endpoint that notifies URL of every registered job, and say what the URL was recognised as.

    \b
    Examples:
      relay endpoints add https://hooks.slack.com/services/T000/B000/XXXX --name sales-channel
      relay endpoints add --url-file slack-url.txt --event job.completed --event job.failed
      relay endpoints add https://example.com/scenario-ready --secret-file secret.txt
      relay endpoints add https://n8n.example.com/webhook/ready --header-file token.txt
      relay endpoints add pull: --name warehouse
    """
    fields = request_fields(**options)
    if "url" not in fields:
        raise click.UsageError("give URL or --url-file")
    added = client.request("POST", "/v1/endpoints", has="id", json=fields)
    if client.as_json:
        print_json(added)
        return
    name = added["name"] or added["id"]
    is_pulled = added["url"] == PULL_URL
    print_text(f"✓ {name} is endpoint {added['id']}: {_recognised(added, fields.get('format'))}")
    print_text(f"  {'it has' if is_pulled else 'it is notified of'} {', '.join(added['events'])}")
    if added["public_key"]:
        print_text(f"  receivers verify with the public key {added['public_key']}")
    elif "secret" not in added:
        print_text("  it was there already, and nothing is changed")
    elif not formats.is_read_by_people(added["format"]):
        print_text(f"  secret, shown only now: {added['secret']}")
    next_step = (
        f"read it: relay events --follow --endpoint {name}"
        if is_pulled
        else f"send a sample: relay endpoints test {name}"
    )
    print_text(f"  {next_step}")


def _recognised(added: dict[str, Any], asked: str | None) -> str:
    format = added["format"]
    if added["url"] == PULL_URL:
        return f"nothing is sent to it, its events are pulled in format {format}"
    if asked not in (None, "auto") or format == "template":
        return f"format {format}"
    if format == "standard":
        return "format standard, because the URL is that of no service that the relay knows"
    return f"recognised by its URL as {format}"


@command.command("test")
@click.argument("endpoint")
@click.option("--event", type=click.Choice([type.value for type in EventType]), help="By default job.completed.")
@client_options
def test(client: Client, endpoint: str, event: str | None) -> None:
    """Send a sample event to ENDPOINT, a name or an id, and show the receiver's answer.

    The message says that it is a test. The exit code is 1 unless the receiver accepts it.

    \b
    Examples:
      relay endpoints test sales-channel
      relay endpoints test sales-channel --event job.failed
    """
    path = f"/v1/endpoints/{_id_of(client, endpoint)}/test"
    attempt = client.request("POST", path, has="outcome", json=drop_none(event=event))
    delivered = attempt["outcome"] == "delivered"
    if client.as_json:
        print_json(attempt)
    else:
        print_text(_answer(attempt, delivered))
    if not delivered:
        raise SystemExit(1)


def _answer(attempt: dict[str, Any], delivered: bool) -> str:
    status = "" if attempt["status_code"] is None else f" {attempt['status_code']}"
    error = f": {attempt['error']}" if attempt["error"] else ""
    first = f"{'✓' if delivered else '✗'} {attempt['outcome']}{status} after {attempt['duration_ms']} ms{error}"
    return "\n".join([first, *([f"the receiver answers: {attempt['response']}"] if attempt["response"] else [])])


@command.command("edit")
@click.argument("endpoint")
@click.option("--url", help="Another URL.")
@field_options
@client_options
def edit(client: Client, endpoint: str, **options: Any) -> None:
    """Change ENDPOINT, a name or an id; what no option names stays as it is.

    The secret stays too: `relay endpoints rotate` makes another. An empty --quiet, --digest or --fallback ends it.

    \b
    Examples:
      relay endpoints edit sales-channel --event job.failed
      relay endpoints edit sales-channel --url-file new-url.txt
      relay endpoints edit sales-channel --quiet ''
    """
    changes = request_fields(**options)
    if not changes:
        raise click.UsageError("say what to change: `relay endpoints edit --help` lists the options")
    changed = client.request("PATCH", f"/v1/endpoints/{_id_of(client, endpoint)}", has="id", json=changes)
    _print(client, changed, f"✓ {changed['name'] or changed['id']} is changed: {', '.join(changes)}")


@command.command("rotate")
@click.argument("endpoint")
@file_option("--secret-file", "secret", parsers.text, "A file with the new secret; by default the relay makes one.")
@click.option(
    "--signing", type=click.Choice(["hmac", "ed25519"]), help="How it signs from now on; by default as before."
)
@client_options
def rotate(client: Client, endpoint: str, **fields: Any) -> None:
    """Give ENDPOINT, a name or an id, a new secret, and show it once. The old one signs too for 24 hours.

    \b
    Examples:
      relay endpoints rotate orders
      relay endpoints rotate orders --secret-file secret.txt
      relay endpoints rotate orders --signing ed25519
    """
    path = f"/v1/endpoints/{_id_of(client, endpoint)}/rotate-secret"
    rotated = client.request("POST", path, has="id", json=drop_none(**fields))
    key = rotated["public_key"] or rotated.get("secret")
    shown = f"; {'public key' if rotated['public_key'] else 'secret, shown only now'}: {key}" if key else ""
    _print(
        client,
        rotated,
        f"✓ {endpoint} has a new secret; the old one signs too until {rotated['old_secret_until']}{shown}",
    )


@command.command("disable")
@click.argument("endpoint")
@client_options
def disable(client: Client, endpoint: str) -> None:
    """Disable ENDPOINT, a name or an id: its deliveries are held until it is enabled.

    \b
    Examples:
      relay endpoints disable sales-channel
    """
    disabled = client.request("POST", f"/v1/endpoints/{_id_of(client, endpoint)}/disable", has="id")
    text = f"✓ {endpoint} is disabled ({disabled['disabled_reason']}); its deliveries are held until"
    _print(client, disabled, f"{text} `relay endpoints enable {endpoint}`")


@command.command("enable")
@click.argument("endpoint")
@client_options
def enable(client: Client, endpoint: str) -> None:
    """Enable ENDPOINT, a name or an id: its held deliveries are sent.

    \b
    Examples:
      relay endpoints enable sales-channel
    """
    enabled = client.request("POST", f"/v1/endpoints/{_id_of(client, endpoint)}/enable", has="id")
    _print(client, enabled, f"✓ {endpoint} is enabled; held deliveries that are sent now: {enabled['released']}")


@command.command("replay")
@click.argument("endpoint")
@click.option("--since", help="What it accepted at this time or later, such as 2026-03-01T10:00:00Z.")
@click.option("--until", help="What it accepted before this time; by default until now.")
@click.option("--dry-run", is_flag=True, help="Count them, but send nothing.")
@click.option("--stop", is_flag=True, help="Stop the replay that goes on.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask before sending.")
@client_options
def replay(
    client: Client, endpoint: str, since: str | None, until: str | None, dry_run: bool, stop: bool, yes: bool
) -> None:
    """Send ENDPOINT, a name or an id, again what it accepted from a time on: for a receiver that lost its data.

    The deliveries are counted first, and you confirm. The webhook-id stays the same; new deliveries go first.

    \b
    Examples:
      relay endpoints replay orders --since 2026-03-01T02:00:00Z --dry-run
      relay endpoints replay orders --since 2026-03-01T02:00:00Z --yes
      relay endpoints replay orders --stop
    """
    if stop == (since is not None):
        raise click.UsageError("give --since, the time from which on the receiver lost its data; or --stop")
    path = f"/v1/endpoints/{_id_of(client, endpoint)}"
    if stop:
        _print(client, client.request("POST", f"{path}/stop-replay", has="data"), f"✓ {endpoint} gets no replay")
        return
    selection = drop_none(since=since, until=until)
    preview = client.request("POST", f"{path}/replay", has="count", json={**selection, "dry_run": True})
    if dry_run or not preview["count"]:
        _print(client, preview, f"{preview['count']} deliveries would be sent again")
        return
    if not yes:
        click.confirm(f"Send {preview['count']} deliveries to {endpoint} again?", abort=True, err=True)
    started = client.request("POST", f"{path}/replay", has="since", json=selection)
    text = f"✓ {preview['count']} deliveries are being sent to {endpoint} again"
    _print(client, started, f"{text}; `relay endpoints replay {endpoint} --stop` stops it")


@command.command("delete")
@click.argument("endpoint")
@click.option("--yes", "-y", is_flag=True, help="Don't ask before deleting.")
@client_options
def delete(client: Client, endpoint: str, yes: bool) -> None:
    """Delete ENDPOINT, a name or an id: its registrations are withdrawn, and its pending deliveries cancelled.

    \b
    Examples:
      relay endpoints delete sales-channel
      relay endpoints delete ep_01JC4ZJ5QX0000000000000000 --yes
    """
    endpoint_id = _id_of(client, endpoint)
    if not yes:
        text = f"Delete {endpoint}? Its registrations are withdrawn, and its pending deliveries cancelled."
        click.confirm(text, abort=True, err=True)
    client.request("DELETE", f"/v1/endpoints/{endpoint_id}")
    _print(client, {"id": endpoint_id, "deleted": True}, f"✓ {endpoint} is deleted")


def _id_of(client: Client, reference: str) -> str:
    """The id of the endpoint with this name or id. Raises RelayError if no endpoint has the name.

    Raises UsageError for what can be neither, without repeating it: it may be a URL, and a password.
    """
    if not _REFERENCE.fullmatch(reference):
        raise click.UsageError("name the endpoint by its name or its id, as `relay endpoints list` shows them")
    if reference.startswith("ep_"):
        return reference
    if found := client.request("GET", "/v1/endpoints", params={"name": reference.lower()})["data"]:
        return str(found[0]["id"])
    rows = client.request("GET", "/v1/endpoints", params={"kind": "standing", "limit": 200})["data"]
    names = [row["name"] for row in rows if row["name"]]
    raise RelayError(f"there is no endpoint named {reference}{did_you_mean_or_list(reference, names)}")


def _print(client: Client, answer: dict[str, Any], text: str) -> None:
    if client.as_json:
        print_json(answer)
    else:
        print_text(text)
