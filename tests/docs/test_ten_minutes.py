"""The page that leads from nothing to a Slack message, typed unchanged; `tests/deploy/walk.py` has its second half."""

import re
from pathlib import Path

from relay.sandbox.exec_server import SANDBOX_KEY
from tests.docs.machine import SLACK, machine_beside_exec
from tests.docs.pages import DOCS, ROOT, sections
from tests.node import lacks, needs

PAGE = sections(DOCS / "ten-minutes.md")
DOCKER, SYSTEMD = PAGE["With Docker"].commands, PAGE["On a machine with systemd"].commands
MOST_COMMANDS = 6
SOURCE = "https://github.com/exec-relay/exec-relay.git"
QUICK = {"RELAY_POLLING__STRATEGY": "interval", "RELAY_POLLING__INTERVAL": "1s"}
"""The stand-in's jobs take seconds, and are polled accordingly."""


async def test_docker_leads_from_nothing_to_a_slack_message(tmp_path: Path) -> None:
    """With the page's commands alone: the relay creates the job, and the channel gets it as Slack displays it."""
    needs("curl", "the way to a Slack message")
    needs("git", "the way to a Slack message")
    if not (ROOT / ".git").exists():
        lacks("a git checkout", "the way to a Slack message")
    async with machine_beside_exec(tmp_path) as (machine, exec, receiver, channel):
        machine.over |= QUICK
        machine.settings.append(f'git() {{ command git -c url.file://{ROOT}.insteadOf={SOURCE} "$@"; }}')
        for command in DOCKER:
            typed = command.replace("exec_live_...", SANDBOX_KEY)
            typed = typed.replace(f'"callback_url": "{SLACK}"', f'"callback_url": "{channel}", "format": "slack"')
            await machine.type(typed)
            if cloned := re.search(r"&& cd (\S+)$", command):
                machine.folder /= cloned[1]
        [told] = await receiver.wait_for(1, path="/channel")
        [job] = exec.jobs.values()
    assert '"blocks"' in told.body.decode()
    assert job.id in told.body.decode()


def test_neither_way_takes_more_than_six_commands() -> None:
    """Both begin with the source and end with the job."""
    for typed in (DOCKER, SYSTEMD):
        assert len(typed) <= MOST_COMMANDS
        assert any(SOURCE in command for command in typed[:2])
        assert "/v1/jobs" in typed[-1]
