"""`relay callback`: the URL at which Exec itself reports that a job ended."""

from typing import Any

import click

from relay.cli import Group
from relay.cli.api_client import Client, client_options, drop_none
from relay.cli.output import print_json, print_text


@click.group("callback", cls=Group)
def command() -> None:
    """Show or rotate the URL to pass as callback_url in Exec's create-job call.

    Exec then calls the relay when a job ends, so most jobs need one poll. A callback is only a hint: a poll confirms
    it. Needs a key with the scope admin, and server.public_url.

    \b
    Examples:
      relay callback show
    """


@command.command("show")
@click.option("--workspace", help="The Exec workspace; all of them by default.")
@client_options
def show(client: Client, workspace: str | None) -> None:
    """Show the callback URL of each workspace. It is a secret, like a password.

    \b
    Examples:
      relay callback show
      relay callback show --workspace sales --json
    """
    for name in [workspace] if workspace else _workspaces(client):
        _print(client, client.request("GET", f"/v1/workspaces/{name}/callback", has="callback_url"))


@command.command("rotate")
@click.option("--workspace", default="default", show_default=True, help="The Exec workspace.")
@client_options
def rotate(client: Client, workspace: str) -> None:
    """Make a new callback URL. The old one works for another 24 hours; rotate twice to end it at once.

    \b
    Examples:
      relay callback rotate
      relay callback rotate --workspace sales
    """
    _print(client, client.request("POST", f"/v1/workspaces/{workspace}/callback/rotate", has="callback_url"))


def _workspaces(client: Client) -> list[str]:
    return [row["name"] for row in client.request("GET", "/v1/workspaces", has="data")["data"]]


def _print(client: Client, callback: dict[str, Any]) -> None:
    if client.as_json:
        print_json(callback)
        return
    lines = {
        "workspace": callback["workspace"],
        "callback_url": callback["callback_url"] or f"(the relay's address){callback['path']}",
        **drop_none(**{"old URL until": callback["old_token_valid_until"]}),
        "last callback": callback["last_callback_at"] or "none yet",
    }
    for name, value in lines.items():
        print_text(f"{name + ':':15}{value}")
    print_text(f"\n{callback['text']}\n")
