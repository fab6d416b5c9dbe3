"""`relay callback`: what to give to Exec, so that it says by itself when a job ends."""

import json
from typing import Any

import click

from relay.cli.api_client import Client, client_options, drop_none


@click.group("callback")
def command() -> None:
    """Show or change the URL that Exec's create-job call is given as callback_url.

    With it Exec itself tells the relay when a job ends: most jobs then cost one poll, and no waiting. What Exec says
    there is only a hint; a poll confirms it. Needs a key with the scope admin, and server.public_url.
    """


@command.command("show")
@click.option("--workspace", help="The Exec workspace; left out: every one.")
@client_options
def show(client: Client, workspace: str | None) -> None:
    """Show the callback URL of each workspace. Keep it as you would keep a password.

    \b
    Examples:
      relay callback show
      relay callback show --workspace sales --json
    """
    for name in [workspace] if workspace else _workspaces(client):
        _print(client, client.request("GET", f"/v1/workspaces/{name}/callback"))


@command.command("rotate")
@click.option("--workspace", default="default", show_default=True, help="The Exec workspace.")
@client_options
def rotate(client: Client, workspace: str) -> None:
    """Make a new callback URL. The one until now works for another 24 hours; rotate twice to end it at once.

    \b
    Examples:
      relay callback rotate
      relay callback rotate --workspace sales
    """
    _print(client, client.request("POST", f"/v1/workspaces/{workspace}/callback/rotate"))


def _workspaces(client: Client) -> list[str]:
    return [row["name"] for row in client.request("GET", "/v1/workspaces")["data"]]


def _print(client: Client, found: dict[str, Any]) -> None:
    if client.as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    lines = {
        "workspace": found["workspace"],
        "callback_url": found["callback_url"] or f"(the relay's address){found['path']}",
        **drop_none(
            **{"old URL until": found["old_token_valid_until"], "heard of Exec": found["last_callback_at"] or "not yet"}
        ),
    }
    for name, value in lines.items():
        click.echo(f"{name + ':':15}{value}")
    click.echo(f"\n{found['text']}\n")
