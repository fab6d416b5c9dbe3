"""What the README says is so: its commands, routes, keys and snippets are taken out of it and tried."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from relay.cli import COMMANDS
from relay.config import Config
from relay.config.reader import known_keys
from relay.model import EventType, Secret
from relay.process import system_clock
from relay.signing import standard_webhooks
from relay.web.app import OPERATIONS
from relay.web.schemas.requests import RegistrationRequest
from tests.docs.pages import all_pages
from tests.make import SECRET
from tests.node import installed

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCS = [*all_pages(), ROOT / "CONTRIBUTING.md"]
MAKEFILE = (ROOT / "Makefile").read_text()


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def signed() -> tuple[dict[str, str], bytes]:
    """A notification as the relay sends it, signed now."""
    body = json.dumps({"type": "job.completed", "data": {"job": {"id": "j1"}}}).encode()
    return standard_webhooks.headers("evt_1", body, [Secret(SECRET)], system_clock()), body


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_named_command_and_target_exists(path: Path) -> None:
    """`relay VERB` and `make TARGET`, wherever they are written as code."""
    code = re.findall(r"`([^`\n]+)`", path.read_text()) + re.findall(r"^\$ (.*)$", path.read_text(), re.MULTILINE)
    for command in code:
        for verb in re.findall(r"(?:^|[ /])relay (?!relay )([a-z]+)(?= |$)", command):
            assert verb in COMMANDS, command
        for target in re.findall(r"^make ([a-z-]+)$", command):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), command


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_named_route_exists(path: Path) -> None:
    """`GET /v1/...` and the like are calls that the API has."""
    known = {(one.method, nameless(one.path)) for one in OPERATIONS}
    named = re.findall(r"`(GET|POST|PATCH|DELETE) (/[^` ?]*)", path.read_text())
    assert {(method, nameless(route)) for method, route in named} - known == set()


def nameless(route: str) -> str:
    """A path with its parameters' names taken out."""
    return re.sub(r"{\w+}", "{}", route)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_named_setting_exists(path: Path) -> None:
    """`section.key` of the configuration, and RELAY_SECTION__KEY."""
    for section, key in re.findall(r"`(\w+)\.(\w+)(?=[`:])", path.read_text()):
        if section in Config.model_fields and key != "py":
            assert key in known_keys(Config, (section,)), f"{section}.{key}"
    for section, key in re.findall(r"RELAY_([A-Z]+)__([A-Z_]+)", path.read_text()):
        assert key.partition("__")[0].lower() in known_keys(Config, (section.lower(),)), f"{section}.{key}"


def test_every_named_event_exists() -> None:
    """No event is left out of the README, none is made up on any page."""
    known = {event.value for event in EventType}
    assert set(re.findall(r"`(job\.[a-z_]+)`", README)) == known
    assert {name for path in DOCS for name in re.findall(r"`(job\.[a-z_]+)`", path.read_text())} == known


def test_every_dependency_is_explained() -> None:
    """docs/dependencies.md has one line for each package that is asked for anywhere, and for no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(one for some in extras.values() for one in some)]
    for name in ("security", "bench", "proxies"):
        lines = (ROOT / f"requirements/{name}.in").read_text().splitlines()
        asked += [line for line in lines if line[:1].isalpha()]
    explained = re.findall(
        r"^\| ([a-z0-9-]+) \| [^|]{15,} \|$", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE
    )
    explained = [name for name in explained if name != "package"]  # the tables' heads
    assert sorted(explained) == sorted({Requirement(one).name for one in asked})


def test_the_readmes_request_is_valid() -> None:
    """What the README's curl sends is a registration."""
    [sent] = re.findall(r"-d '({.*?})'", README, re.DOTALL)
    assert RegistrationRequest.model_validate(json.loads(sent)).metadata == {"team": "sales"}


def test_the_readmes_notification_has_the_standard_shape() -> None:
    """The body that is shown has the shape of the format `standard`."""
    [shown] = [text for text in snippets("http") if "webhook-id" in text]
    body = json.loads(shown.split("\n\n", 1)[1].replace(",...", "").replace("...", ""))
    assert set(body) == {"type", "timestamp", "data"}
    assert set(body["data"]) == {"job", "registration", "metadata", "workspace"}


def test_the_readmes_python_snippet_verifies() -> None:
    """It takes what the relay signed, and nothing else."""
    [code] = [text for text in snippets("python") if "Webhook(" in text]
    namespace: dict[str, Any] = {}
    exec(code.replace("whsec_...", SECRET), namespace)  # noqa: S102 (our own README)
    headers, body = signed()
    assert namespace["receive"](headers, body) == {"id": "j1"}
    with pytest.raises(Exception, match="signature"):
        namespace["receive"](headers, body + b" ")


@pytest.mark.timeout(300)
def test_the_readmes_javascript_snippet_verifies(tmp_path: Path) -> None:
    """The same in JavaScript, with the npm package."""
    [code] = [text for text in snippets("javascript") if "Webhook(" in text]
    headers, body = signed()
    (tmp_path / "receive.mjs").write_text(code.replace("whsec_...", SECRET))
    (tmp_path / "try.mjs").write_text(
        'import { receive } from "./receive.mjs";\n'
        f"const headers = {json.dumps(headers)}, body = {json.dumps(body.decode())};\n"
        'if (receive(headers, body).id !== "j1") process.exit(2);\n'
        "try { receive(headers, body + ' '); process.exit(3); } catch { process.exit(0); }\n"
    )
    (tmp_path / "node_modules").symlink_to(installed(ROOT / "tests/javascript") / "node_modules")
    assert subprocess.run(["node", "try.mjs"], cwd=tmp_path, timeout=30).returncode == 0
