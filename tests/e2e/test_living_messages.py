"""kill -9 at any moment of a living message, against stand-ins of Slack, Discord and ntfy: no message is left that says
that the job is running, and none is doubled if the service can be asked. Discord can't be: a start that is left there
says when the job started, which stays true.
"""

import asyncio
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.model import HOUR
from relay.sandbox.local_server import serve
from relay.store import Store
from tests.chats import CHANNEL, Chat, FakeDiscord, FakeNtfy, FakeSlack
from tests.forking import processes

ROOT = Path(__file__).parents[2]
ROUNDS = 2
STARTED = "Scenario started"
RUNNING = ("in progress", "running", "has started it")
"""What no message may say an hour after the end; each start is in the past, and says when it was."""


class Killed(Exception):
    """The process that sent a request is dead: the chat stores nothing of it."""


async def run_child(*arguments: str, kill_after: int | None, chat: Chat, is_stored: bool = True) -> None:
    """Runs the child to its end, or kills it in its n-th message: before the chat stored it, or after that and before
    the answer.
    """
    await asyncio.to_thread(processes.get_ready)
    words, messages = ("tests.e2e.living_child", *arguments), 0

    async def kill(_: str) -> None:
        nonlocal messages
        messages += 1
        if messages == kill_after:
            process.kill()
            await process.wait()
            if not is_stored:
                raise Killed

    chat.stored, chat.received = (kill, None) if is_stored else (None, kill)
    with tempfile.TemporaryFile() as output:
        process = processes.start(words, os.environ, ROOT, output.fileno())
        code = await asyncio.wait_for(process.wait(), 60)
        if kill_after is None:
            output.seek(0)
            assert code == 0, output.read().decode()


async def rounds(
    folder: Path, chat: FakeSlack | FakeDiscord | FakeNtfy, format: str, path: str, number: int
) -> Counter[str]:
    """How many messages each job had at its end, over so many rounds."""
    rng, store_url, counts = random.Random(number), f"sqlite:///{folder}/relay.db", Counter[str]()
    await (await Store.open(store_url)).aclose()
    async with serve(chat.app) as url:
        for round in range(number):
            chat.messages.clear()
            arguments = (store_url, f"{url}{path}", format, f"job{round}")
            moment = {"kill_after": rng.randint(1, 3), "is_stored": rng.random() < 0.5}
            await run_child(*arguments, str(2 * round * HOUR), chat=chat, **moment)  # type: ignore[arg-type]
            await run_child(*arguments, str((2 * round + 1) * HOUR), kill_after=None, chat=chat)
            roots = [one for one in chat.messages.values() if "thread_ts" not in one]
            starts = [one for one in roots if STARTED in json.dumps(one)]
            replies = [one for one in chat.messages.values() if "thread_ts" in one]
            assert not any(word in json.dumps(one).lower() for one in roots for word in RUNNING), roots
            if not isinstance(chat, FakeDiscord):
                assert (len(roots), starts) == (1, []), chat.calls
                assert len(replies) <= 1
            else:
                assert len(roots) <= 2, chat.calls
                assert len(roots) - len(starts) == 1  # the ending is there, once
            counts[f"{len(roots)} messages, {len(starts)} of them a start"] += 1
    return counts


@pytest.mark.timeout(300)
async def test_slack_keeps_one_message_whenever_the_relay_is_killed(tmp_path: Path) -> None:
    """The next relay finds the message in the channel's history, and changes it to the ending."""
    path = f"/api/chat.postMessage?channel={CHANNEL}"
    await rounds(tmp_path, FakeSlack(), "slack_app", path, ROUNDS)


@pytest.mark.timeout(300)
async def test_discord_gets_one_start_and_one_ending_at_most(tmp_path: Path) -> None:
    """A webhook can't be asked: after a lost answer the ending is a second message, and no start is repeated."""
    await rounds(tmp_path, FakeDiscord(), "discord", "/api/webhooks/1/secret", ROUNDS)


@pytest.mark.timeout(300)
async def test_ntfy_keeps_one_message_whenever_the_relay_is_killed(tmp_path: Path) -> None:
    """A repeat has the sequence id of the message that may be there, and replaces it."""
    await rounds(tmp_path, FakeNtfy(), "ntfy", "/jobs", ROUNDS)


@pytest.mark.long
@pytest.mark.timeout(5_400)
async def test_three_hundred_rounds(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The same 100 times for each; `-o junit_family=legacy --junitxml=FILE` says how many messages the jobs had."""
    for name in ("slack", "discord", "ntfy"):
        (tmp_path / name).mkdir()
    path = f"/api/chat.postMessage?channel={CHANNEL}"
    counts = {
        "slack": await rounds(tmp_path / "slack", FakeSlack(), "slack_app", path, 100),
        "discord": await rounds(tmp_path / "discord", FakeDiscord(), "discord", "/api/webhooks/1/secret", 100),
        "ntfy": await rounds(tmp_path / "ntfy", FakeNtfy(), "ntfy", "/jobs", 100),
    }
    for name, of_rounds in counts.items():
        record_property(name, dict(of_rounds))
