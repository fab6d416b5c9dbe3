"""`relay callback` against a relay on a socket."""

import asyncio
import json

from click.testing import CliRunner, Result

from relay.cli import main
from relay.sandbox.local_server import serve
from relay.web.app import create_app
from tests.flows.conftest import Start

PUBLIC = "https://relay.example.com"


async def run(url: str, *words: str) -> Result:
    """The output of the command, while the relay answers."""
    return await asyncio.to_thread(CliRunner().invoke, main, [*words, "--server", url])


async def test_the_url_for_exec_is_shown_and_rotated(start: Start) -> None:
    """One paragraph a workspace with the URL and what to do with it; after a rotation how long the old one works."""
    async with (
        start(server={"public_url": PUBLIC}) as world,
        serve(create_app(world.relay, owns_relay=False)) as url,
    ):
        shown = await run(url, "callback", "show")
        assert shown.exit_code == 0, shown.output
        assert f"{PUBLIC}/v1/exec/callbacks/" in shown.output
        assert "exec_callback" in shown.output
        as_json = json.loads((await run(url, "callback", "show", "--workspace", "default", "--json")).output)
        assert as_json["callback_url"] in shown.output
        rotated = await run(url, "callback", "rotate")
        assert rotated.exit_code == 0, rotated.output
        assert "old URL until" in rotated.output
        assert as_json["callback_url"] not in rotated.output


async def test_without_a_public_url_the_command_names_the_setting(start: Start) -> None:
    """The path is shown, and the setting that is missing."""
    async with start() as world, serve(create_app(world.relay, owns_relay=False)) as url:
        shown = await run(url, "callback", "show")
        assert "server.public_url" in shown.output
        assert "(the relay's address)/v1/exec/callbacks/" in shown.output


async def test_an_unknown_workspace_is_reported(start: Start) -> None:
    """Exit code 1, with the existing names."""
    async with start() as world, serve(create_app(world.relay, owns_relay=False)) as url:
        shown = await run(url, "callback", "show", "--workspace", "other")
        assert shown.exit_code == 1
        assert "this relay knows default" in shown.output
