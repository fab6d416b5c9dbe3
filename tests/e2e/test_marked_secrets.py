"""Real processes with marked secrets, in normal and failing runs: no output contains one."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.cli import COMMANDS
from relay.sandbox.exec_server import BASE
from tests import marked
from tests.commands import outputs
from tests.e2e.conftest import Stage, free_port
from tests.forking import processes

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"
CALLBACK = f"https://hooks.example/services/{marked.URL_TOKEN}"
DATABASE = f"postgresql://relay:{marked.PASSWORD}@127.0.0.1:9/relay"
CLIENT = ("--server", NOWHERE, "--key", marked.API_KEY)
DEBUG = {"RELAY_LOGGING__LEVEL": "debug"}
BAD_WORDS = (
    "",
    "exec: [1\n",
    "exec: {api_key: *nothing}\n",
    "delivery: {schedule: nonsense}\n",
    f"{marked.EXEC_KEY}: 1\n",
    f"- {marked.EXEC_KEY}\n",
)
"""What makes a configuration unfit, beside the marked secrets in it."""


async def printed(
    *arguments: str, cwd: Path, until: str | None = None, environ: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code and everything that `relay ...` prints; it is stopped once that has the words `until`."""
    process = await asyncio.create_subprocess_exec(
        *(*processes.command(), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environ or {})},
        cwd=cwd,
    )
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(60):
        while until is not None and until not in said:
            line = await process.stdout.readline()
            assert line, said
            said += line.decode()
        if until is not None:
            process.terminate()
        rest, _ = await process.communicate()
    return process.returncode or 0, said + rest.decode()


def config(folder: Path, url: str = "sqlite:///relay.db", exec_url: str = NOWHERE, more: str = "", **exec: Any) -> Path:
    """A configuration in which everything secret is marked."""
    sections = {
        "exec": {"api_key": marked.EXEC_KEY, "base_url": exec_url, "timeout": "1s", **exec},
        "storage": {"url": url},
        "server": {"port": free_port()},
        "security": {"api_keys": [marked.API_KEY], "allow_http": True, "secret_key": marked.SECRET_KEY},
        "endpoints": [
            {"name": "a", "url": CALLBACK, "secret": marked.SIGNING, "headers": {"x-key": marked.HEADER}},
        ],
        "polling": {"tick": "50ms"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(sections) + more)
    return path


VERB_CALLS: dict[str, list[tuple[str, ...]]] = {
    "check": [()],
    "serve": [("--config", "nowhere.yaml")],
    "register": [("j1", "--url", CALLBACK, *CLIENT), (marked.EXEC_KEY, "--url", marked.URL_TOKEN, *CLIENT)],
    "jobs": [CLIENT],
    "deliveries": [CLIENT],
    "resend": [("dlv_1", *CLIENT)],
    "keygen": [("--name", "a")],
    "keys": [("list",), ("create", marked.API_KEY, "--scope", "read"), ("revoke", marked.API_KEY)],
    "receive": [("--secret", marked.SIGNING + "x")],
    "sandbox": [("--port", "nonsense")],
    "demo": [("--nonsense",)],
}
"""How each verb is called beside a marked configuration; what comes is judged, not whether it works."""


SERVERS = ("mcp", "serve")
"""Commands that run until they are stopped."""


@pytest.mark.timeout(120)
async def test_no_command_prints_a_secret(tmp_path: Path) -> None:
    """Every command, new ones included, with marked secrets in configuration, environment and arguments."""
    config(tmp_path)
    environ = {"RELAY_API_KEY": marked.API_KEY, "EXEC_API_KEY": marked.EXEC_KEY, "RELAY_STORAGE__URL": DATABASE}
    lines = [(verb, *words) for verb in COMMANDS if verb not in SERVERS for words in VERB_CALLS.get(verb, [()])]
    ended = await outputs([(tmp_path, words) for words in lines], environ)
    for words, (_, said) in zip(lines, ended, strict=True):
        assert said, words[0]
        assert marked.found_in(said) == [], words[0]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("verb", SERVERS)
async def test_no_server_prints_a_secret(verb: str, tmp_path: Path) -> None:
    """Without a configuration, or without anybody who calls."""
    config(tmp_path)
    environ = {"RELAY_API_KEY": marked.API_KEY, "EXEC_API_KEY": marked.EXEC_KEY, "RELAY_STORAGE__URL": DATABASE}
    _, said = await printed(verb, *VERB_CALLS.get(verb, [()])[0], cwd=tmp_path, environ=environ)
    assert said or verb == "mcp", "a server on standard output says nothing that no client asks for"
    assert marked.found_in(said) == []


@pytest.mark.timeout(120)
async def test_configuration_errors_contain_no_secret(tmp_path: Path) -> None:
    """The text names the key at fault and repeats no value."""
    lines = []
    for number, words in enumerate(BAD_WORDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = config(folder, url=f"mysql://{marked.PASSWORD}@x/y", more=words)
        lines.append((folder, ("check", "--config", str(path))))
    for code, said in await outputs(lines):
        assert code == 2
        assert "config.yaml" in said
        assert marked.found_in(said) == []


@pytest.mark.timeout(120)
async def test_misplaced_secrets_in_a_configuration_are_not_printed(tmp_path: Path) -> None:
    """A secret under a wrong key, of a wrong type or with a stray blank is not repeated."""
    sections: dict[str, Any] = {
        "exec": {
            "api_key": f"{marked.EXEC_KEY} x",
            "base_url": f"https://u:{marked.PASSWORD}@x",
            "timeout": marked.URL_TOKEN,
        },
        "storage": {"url": DATABASE.replace("postgresql", "postgres+x"), "retention": marked.PASSWORD},
        "server": {"host": marked.HEADER, "port": marked.API_KEY, "public_url": CALLBACK},
        "security": {
            "api_keys": [marked.API_KEY + "!", {"name": "a", "hash": marked.API_KEY}],
            "secret_key": [marked.SECRET_KEY],
        },
        "endpoints": [{"name": marked.URL_TOKEN, "url": f"ftp://{marked.URL_TOKEN}", "secret": marked.SIGNING + "x"}],
        "logging": {"level": marked.HEADER},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(sections))
    code, said = await printed("check", cwd=tmp_path)
    assert code == 2
    assert said.count("\n") >= 6
    assert marked.found_in(said) == []


@pytest.mark.timeout(120)
async def test_an_unreachable_database_prints_no_password(tmp_path: Path) -> None:
    """The driver's error about a failed connection is shown without the password."""
    path = config(tmp_path, url=DATABASE)
    code, said = await printed("check", "--config", str(path), cwd=tmp_path)
    assert code == 1
    assert marked.found_in(said) == []
    _, said = await printed("serve", "--config", str(path), cwd=tmp_path, until="the database can't be reached")
    assert marked.found_in(said) == []


@pytest.mark.timeout(120)
async def test_a_refused_exec_key_is_not_printed(stage: Stage, tmp_path: Path) -> None:
    """A served relay whose key Exec refuses says so in its log, its readiness and `relay check`, without the key."""
    path = config(tmp_path, exec_url=stage.exec_url + BASE)
    code, said = await printed("check", "--config", str(path), cwd=tmp_path)
    assert code == 1
    assert "refuses the key" in said
    assert marked.found_in(said) == []
    _, logged = await printed("serve", "--config", str(path), cwd=tmp_path, until="listens on", environ=DEBUG)
    assert marked.found_in(logged) == []


@pytest.mark.timeout(120)
async def test_a_reload_prints_no_secret(tmp_path: Path) -> None:
    """SIGHUP with other secrets, with faults, with an endpoint that may not be called: the log has none of them."""
    path = config(tmp_path)
    good = yaml.safe_load(path.read_text())
    process = await asyncio.create_subprocess_exec(
        *(*processes.command(), "serve", "--config", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | DEBUG,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    said = ""

    async def hears(words: str) -> None:
        nonlocal said
        async with asyncio.timeout(30):
            while words not in said:
                said += (await process.stdout.readline()).decode()  # type: ignore[union-attr]

    await hears("listens on")
    changes: list[tuple[dict[str, Any], str]] = [
        ({"security": {**good["security"], "api_keys": [marked.API_KEY + "2"]}}, "was reloaded"),
        ({"exec": {**good["exec"], "api_key": marked.EXEC_KEY + "2"}}, "1 new Exec keys"),
        (
            {"security": {**good["security"], "secret_key": marked.SECRET_KEY + "2"}},
            "only after a restart",
        ),
        (
            {"security": {**good["security"], "api_keys": [marked.API_KEY + "!"], "secret_key": [1]}},
            "the previous one",
        ),
        ({"endpoints": [{"name": "a", "url": f"https://127.0.0.1/{marked.URL_TOKEN}"}]}, "endpoints.a.url"),
        ({"storage": {"url": DATABASE}}, "storage.url was changed"),
    ]
    for change, words in changes:
        path.write_text(yaml.safe_dump(good | change))
        process.send_signal(signal.SIGHUP)
        await hears(words)
    process.terminate()
    rest, _ = await process.communicate()
    assert process.returncode == 0
    assert marked.found_in(said + rest.decode()) == []
