"""`relay mcp`: the MCP server for an agent on this machine."""

import asyncio

import click

from relay.cli.api_client import Client, client_options
from relay.client import AsyncRelay
from relay.mcp import serve_stdio


@click.command("mcp")
@client_options
def command(client: Client) -> None:
    """Serve tools for agents on standard input and output: create scenarios, wait for them, resend notifications.

    It calls the relay that --server names. A relay serves the same tools itself, over streamable HTTP at /mcp, to
    clients with one of its API keys. Both need the extra: pip install 'exec-relay[mcp]'.

    \b
    Examples:
      relay mcp --server http://127.0.0.1:8080
    In the configuration of an agent:
      {"mcpServers": {"relay": {"command": "relay", "args": ["mcp"], "env": {"RELAY_URL": "http://127.0.0.1:8080"}}}}
    """
    asyncio.run(serve_stdio(AsyncRelay(client.server, client.key)))
