"""The relay accepts what the pages tell people to type and to write, unchanged."""

import json
import re
import shlex
from collections.abc import Iterator
from copy import deepcopy
from ipaddress import IPv4Network
from itertools import chain
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from pydantic import BaseModel

from docs.generating import events
from relay import config, formats
from relay.cli import main
from relay.config import DeliverySection
from relay.delivery import endpoint_health, retry_policy
from relay.delivery.attempt import RESPONSE_KEPT
from relay.egress import EgressRules
from relay.endpoints import spec
from relay.errors import ConfigError
from relay.formats import flat, slack, template
from relay.formats.sample_event import sample_event
from relay.model import MINUTE, SECOND, EventType
from relay.verify import TOLERANCE
from relay.web.app import OPERATIONS
from relay.web.core.route import ApiRoute
from relay.web.schemas.requests import BatchRequest, RegistrationRequest
from tests.docs.pages import DOCS, all_pages, blocks, commands, sections
from tests.make import make_event

PAGES = all_pages()
NAMES = [str(page.relative_to(DOCS.parent)) for page in PAGES]
RULES = EgressRules(allow_http=False, allow_networks=(), deny_networks=())
LOCAL = EgressRules(allow_http=True, allow_networks=(IPv4Network("127.0.0.1/32"),), deny_networks=())
ELSEWHERE = frozenset(
    """make docker kubectl systemctl npm cd zapier-platform sqlite3 uvicorn flask django-admin python node
    pip umask tail echo export litestream go php ruby dotnet java git apt-get sh""".split()
)
"""Programs that are not ours; those of the receivers are run by test_receivers."""

SANDBOX = "http://127.0.0.1:4010/rest/v1/scenario-studio/jobs"
QUICK_START = "http://127.0.0.1:4020/"
"""The one URL of the pages that the relay calls only where it is told that it may."""


def programs(page: Path) -> Iterator[list[str]]:
    """Each command of a page as words, without leading variables."""
    for command in commands(page.read_text()):
        words = shlex.split(command)
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        yield words[: words.index(">")] if ">" in words else words


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_exists(page: Path) -> None:
    """The command itself parses `relay ...` with its options; this test knows every other program."""
    for words in programs(page):
        name = words[0].rpartition("/")[2]
        if name == "relay":
            parsed(words[1:])
        elif name == "docker" and (inside := in_container(words)):
            parsed(inside)
        elif name == "curl":
            assert operation_of(words) or SANDBOX in " ".join(words), words
        else:
            assert name in ELSEWHERE, words


def in_container(words: list[str]) -> list[str]:
    """The command that a container of the image runs: what follows its name, or for `exec` the program."""
    for image in ("exec-relay", "relay"):
        if image in words and {"run", "exec"} & set(words):
            return words[words.index(image) + 1 + ("exec" in words) :]
    return []


def parsed(arguments: list[str], group: click.Group = main) -> None:
    """Fails unless click accepts these arguments; runs nothing."""
    verb = group.get_command(click.Context(group), arguments[0])
    assert verb is not None, arguments
    verb = deepcopy(verb)
    for part in verb.params:
        if isinstance(part.type, click.Path):
            part.type.exists, part.callback = False, None
    if isinstance(verb, click.Group):
        parsed(arguments[1:], verb)
    else:
        verb.make_context(arguments[0], arguments[1:])


def test_a_wrong_command_is_detected() -> None:
    """An option that does not exist, and a command that does not exist."""
    with pytest.raises(click.UsageError):
        parsed(["register", "j1", "--uri", "https://example.com/"])
    with pytest.raises(AssertionError):
        parsed(["start"])


def operation_of(words: list[str]) -> ApiRoute | None:
    """The call of our API that a curl command makes; its method is POST if it sends a body."""
    [url] = [word for word in words[1:] if "://" in word and not word.startswith("{")]
    path = "/" + url.partition("://")[2].partition("/")[2].partition("?")[0]
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
    for one in OPERATIONS:
        if one.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", one.path), path):
            return one
    return None


def sent(page: Path) -> Iterator[tuple[type[BaseModel], Any]]:
    """Each JSON body of a page, with the schema that must accept it."""
    for words in programs(page):
        if words[0] == "curl" and "-d" in words:
            one = operation_of(words)
            if one is None:
                continue  # a call of the stand-in's
            assert one.body is not None, words
            yield one.body, json.loads(words[words.index("-d") + 1])
    for block in blocks(page.read_text(), "json"):
        found = json.loads(block)
        if "job_id" in found and "event" not in found:
            yield RegistrationRequest, found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_request_body_is_valid(page: Path) -> None:
    """No field is misspelled, and headers and URLs pass the checks after the schema."""
    for model, body in sent(page):
        judged = model.model_validate(body)
        if isinstance(judged, BatchRequest):
            assert [RegistrationRequest.model_validate(one) for one in body["registrations"]]
            continue
        made = judged.model_dump()
        url = made.get("url") or made.get("callback_url")
        if url is None:
            continue  # for the standing endpoints
        wanted = spec.EndpointSpec(url, made.get("format", "auto"), headers=made.get("headers", {}))
        spec.validate(wanted, LOCAL if url.startswith(QUICK_START) else RULES)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_page_needs_curl_for_an_endpoint(page: Path) -> None:
    """The dashboard and the command do it; the page that lists the three ways shows the API as the last."""
    calls = [words for words in programs(page) if words[0] == "curl" and "/v1/endpoints" in " ".join(words)]
    assert bool(calls) is (page == DOCS / "how-to/index.md")


def test_the_pages_contain_request_bodies() -> None:
    """The test above has something to check."""
    assert len([body for page in PAGES for _, body in sent(page)]) >= 6


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_configuration_snippet_is_valid(page: Path) -> None:
    """YAML of the pages is configuration; if it has no Exec key, the test adds one."""
    for block in blocks(page.read_text(), "yaml"):
        filled = re.sub(r"\${(\w+)}", lambda found: FILLED.get(found[1], "x" * 30), block)
        accepted(yaml.safe_load(filled))


FILLED = {
    "SLACK_URL": "https://hooks.slack.com/services/T000/B000/XXXX",
    **{f"EXEC_API_KEY{end}": "exec_live_" + f"a{n}" * 20 for n, end in enumerate(("", "_SALES", "_SUCCESS"), 1)},
}


def accepted(data: dict[str, Any]) -> None:
    base = {} if "workspaces" in data else {"exec": {"api_key": FILLED["EXEC_API_KEY"]}}
    config.from_mapping({name: base.get(name, {}) | data[name] if name in base else data[name] for name in data} | base)


def test_a_wrong_configuration_snippet_is_detected() -> None:
    """A key that does not exist."""
    with pytest.raises(ConfigError):
        accepted({"endpoints": [{"name": "a", "uri": "https://example.com/"}]})


@pytest.mark.parametrize(("page", "title"), [("zapier.md", "The fields"), ("slack.md", "A workflow")])
def test_the_pages_list_every_flat_key(page: str, title: str) -> None:
    """In the format's order, without gaps."""
    table = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", sections(DOCS / "how-to" / page)[title].text, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(table)) == list(flat.flat_fields(make_event(), None))


def test_named_flat_keys_exist() -> None:
    """Pages name only flat keys that exist."""
    named = re.findall(r"map `(\w+)`, `(\w+)`", (DOCS / "how-to/make.md").read_text())
    assert set(chain.from_iterable(named)) <= set(flat.flat_fields(make_event(), None))
    assert named


def test_the_table_of_slack_errors_matches_the_format() -> None:
    """The format knows each word of the table, and disables as the table says."""
    rows = sections(DOCS / "how-to/slack.md")["If no message arrives"].text.splitlines()
    words = [word for row in rows if "disables" in row for word in re.findall(r"`(\w+)`", row)]
    assert words
    for word in words:
        permanent = slack.error_meaning(word)
        assert permanent is not None, word
        assert permanent.disable, word


def test_the_numbers_of_the_delivery_page_match_the_code() -> None:
    """The schedule, the limits and the waits."""
    text = " ".join((DOCS / "concepts/delivery.md").read_text().split())
    rules = DeliverySection()
    [told] = re.findall(r"At once, then (.+?) after the attempt before: (\d+) attempts", text)
    parts = re.findall(r"(\d+) (s|min|h)\b", told[0])
    assert [config.duration(number + unit.removesuffix("in")) for number, unit in parts] == list(rules.schedule[1:])
    assert int(told[1]) == len(rules.schedule)
    assert f"2xx within {rules.timeout // SECOND} seconds" in text
    assert f"of {rules.concurrency} in all" in text
    assert rules.per_host == 4
    assert "at most four connections" in text
    assert endpoint_health.DISABLE_ATTEMPTS == endpoint_health.BREAKER_OPENS_AT == 10
    assert f"{retry_policy.DEFAULT_PAUSE // SECOND} seconds if it is missing" in text
    assert f"first {RESPONSE_KEPT // 1024} KiB" in text
    assert TOLERANCE == 5 * MINUTE
    assert (formats.rate_limit("slack"), formats.rate_limit("google_chat"), formats.rate_limit("zapier")) == (1, 1, 25)


def test_the_named_buttons_are_on_the_dashboard() -> None:
    """The dashboard has every text that the page prints in bold, letter by letter."""
    templates = DOCS.parent / "relay/web/dashboard/templates"
    shown = "\n".join(path.read_text() for path in templates.glob("*.html"))
    named = re.findall(r"\*\*([^*]+)\*\*", (DOCS / "how-to/dashboard.md").read_text())
    assert named
    assert [name for name in named if not re.search(rf'>{name}(<| ?{{)|"{name}"', shown)] == []


def test_n8n_expressions_match_the_payload() -> None:
    """Each path exists in the body of a completed or of a failed job."""
    bodies = [json.loads((events.GOLDEN / f"standard/{name}.json").read_text()) for name in ("completed", "failed")]
    paths = re.findall(r"\$json\.body\.([\w.]+)", (DOCS / "how-to/n8n.md").read_text())
    assert len(paths) >= 4
    for path in paths:
        assert any(at(body, path) is not None for body in bodies), path


def test_the_template_page_shows_its_result() -> None:
    """The body on the page is that of the configuration above it, for the sample; each name in the table exists."""
    text = (DOCS / "how-to/template.md").read_text()
    wanted, shown = blocks(text, "yaml")[0], blocks(text, "json")[0]
    kept = template.check(yaml.safe_load(wanted)["endpoints"][0]["template"])
    assert json.loads(shown) == template.body(kept, sample_event(EventType.COMPLETED, 0), None)
    named = set(re.findall(r"`{{ ([\w.]+) }}`", sections(DOCS / "how-to/template.md")["Placeholders"].text))
    assert {"job", "job.scenario", "job.error", "registration", "replaces"} | named == template.PATHS


RECIPES = {
    "apprise": {"title": str, "body": str, "type": str},
    "pagerduty": {"routing_key": str, "event_action": str, "dedup_key": str, "payload": dict, "links": list},
    "gotify": {"title": str, "message": str, "priority": int},
}
"""What each service's documentation asks for."""


def test_the_recipes_make_what_their_services_take() -> None:
    """Each template on the page is valid, and fills every field of its service for a failed job."""
    shown = [
        yaml.safe_load(block)["endpoints"][0] for block in blocks((DOCS / "how-to/template.md").read_text(), "yaml")
    ]
    recipes = {endpoint["name"]: endpoint for endpoint in shown if endpoint["name"] in RECIPES}
    assert set(recipes) == set(RECIPES)
    for name, fields in RECIPES.items():
        kept = template.check(recipes[name]["template"])
        body = template.body(kept, sample_event(EventType.FAILED, 0), None)
        assert {key: type(value) for key, value in body.items()} == fields
        assert "Scenario failed" in json.dumps(body)
    assert (
        len(
            template.body(template.check(recipes["pagerduty"]["template"]), sample_event(EventType.FAILED, 0), None)[
                "payload"
            ]["summary"]
        )
        <= 1_024
    )


def at(body: Any, path: str) -> Any:
    """The value at `data.job.id`; None if there is none."""
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


def test_the_named_urls_select_their_formats() -> None:
    """In the table of the reference, and in the how-tos that show a service's URL."""
    for name, told in events.RECEIVERS.items():
        hosts = [part for part in re.findall(r"`([^`]+)`", told) if "." in part]
        for host in hosts:
            path = "" if "/" in host else "/api/webhooks/" if "discord" in host else "/"
            assert formats.detect_format(f"https://{host.replace('*', 'prod')}{path}x") == name, host
    urls = re.findall(r"https://[\w./-]+/\S*?(?=[`\"' ,])", "".join(page.read_text() for page in PAGES))
    known = {
        "slack": "hooks.slack.com/s",
        "zapier": "hooks.zapier",
        "discord": "discord.com/api",
        "google_chat": "chat.",
    }
    for format, part in known.items():
        found = [url for url in urls if part in url]
        assert found, format
        assert {formats.detect_format(f"{url}x") for url in found} == {format}
