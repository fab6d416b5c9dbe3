"""`relay endpoints`: everything that an operator does with an endpoint, against a served relay and a real receiver."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from relay.process import system_clock
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import Receiver, Respond
from tests.make import SECRET
from tests.web.conftest import OTHER_SECRET
from tests.web.waiting import KEY, Served, served_relay

SLACK = "https://hooks.slack.com/services/T000/B000/hidden"


@dataclass
class Stage:
    """A relay that may call this machine, a receiver, and the command."""

    served: Served
    receiver: Receiver
    url: str

    async def run(self, *words: str, input: str | None = None) -> Result:
        """Runs `relay endpoints ...` on a thread."""
        environ = {"RELAY_URL": self.served.url, "RELAY_API_KEY": KEY}
        return await asyncio.to_thread(CliRunner(env=environ).invoke, main, ["endpoints", *words], input=input)

    async def done(self, *words: str, input: str | None = None) -> str:
        """Its standard output; it must succeed."""
        result = await self.run(*words, input=input)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def shown(self, reference: str) -> dict[str, Any]:
        """The endpoint, as `relay endpoints show` prints it."""
        row: dict[str, Any] = json.loads(await self.done("show", reference))
        return row


@pytest.fixture
async def stage(sqlite_url: str) -> AsyncIterator[Stage]:
    receiver = Receiver(SECRET, system_clock)
    rules: dict[str, Any] = {"allow_http": True, "allow_networks": ["127.0.0.1/32"]}
    async with served_relay(sqlite_url, **rules) as served, serve(receiver.app) as url:
        yield Stage(served, receiver, f"{url}/orders")


@pytest.fixture
async def orders(stage: Stage, tmp_path: Path) -> Stage:
    """With an endpoint named `orders`, whose secret the receiver knows."""
    (tmp_path / "secret").write_text(SECRET)
    await stage.done("add", stage.url, "--name", "orders", "--secret-file", str(tmp_path / "secret"))
    return stage


@pytest.mark.parametrize(
    ("words", "recognised", "events"),
    [
        ([SLACK], "recognised by its URL as slack", "job.completed, job.failed, job.cancelled"),
        ([SLACK, "--format", "zapier"], "format zapier", "job.not_found, job.expired"),
        (["https://example.com/ready"], "format standard, because the URL is that of no service", "job.expired"),
        ([SLACK, "--event", "job.failed"], "recognised by its URL as slack", "notified of job.failed\n"),
    ],
)
async def test_add_says_what_the_url_is(stage: Stage, words: list[str], recognised: str, events: str) -> None:
    """With the events, and how to send a sample; the URL is not repeated."""
    said = await stage.done("add", *words, "--name", "sales")
    assert recognised in said
    assert events in said
    assert "relay endpoints test sales" in said
    assert "hidden" not in said
    row = await stage.shown("sales")
    assert f"✓ sales is endpoint {row['id']}" in said
    again = await stage.done("add", *words, "--name", "sales")
    assert "it was there already" in again
    assert "whsec_" not in again


async def test_an_endpoint_that_is_pulled_is_read(stage: Stage) -> None:
    """It is added without a URL, and what comes next is a command that reads it, not a sample."""
    said = await stage.done("add", "pull:", "--name", "warehouse", "--event", "job.completed")
    assert "nothing is sent to it, its events are pulled in format standard" in said
    assert "it has job.completed\n" in said
    assert "secret, shown only now: whsec_" in said
    assert "read it: relay events --follow --endpoint warehouse" in said
    assert "relay endpoints test" not in said


async def test_a_secret_is_shown_to_those_who_verify(stage: Stage) -> None:
    """Once, in the format of programs; a chat verifies nothing; a public key is no secret."""
    assert "secret, shown only now: whsec_" in await stage.done("add", "https://example.com/ready")
    assert "whsec_" not in await stage.done("add", SLACK)
    assert "public key whpk_" in await stage.done("add", "https://example.com/other", "--signing", "ed25519")
    made = json.loads(await stage.done("add", "https://example.com/third", "--json"))
    assert made["secret"].startswith("whsec_")


async def test_a_url_comes_from_a_file(stage: Stage, tmp_path: Path) -> None:
    """So it stays out of the shell's history; so do headers; exactly one URL is needed."""
    (tmp_path / "url").write_text(SLACK + "\r\n")
    (tmp_path / "headers").write_text("x-relay-token: hidden\nx-other: a: b\n")
    files = ["--url-file", str(tmp_path / "url"), "--header-file", f"{tmp_path}/headers", "--header", "x-third:c"]
    await stage.done("add", *files, "--name", "sales")
    row = await stage.shown("sales")
    assert (row["format"], row["header_names"]) == ("slack", ["x-other", "x-relay-token", "x-third"])
    for words, reason in (
        (["add"], "give URL or --url-file"),
        (["add", SLACK, *files], "give the URL or --url-file, not both"),
        (["edit", "sales", "--url", SLACK, *files], "give the URL or --url-file, not both"),
    ):
        refused = await stage.run(*words)
        assert (refused.exit_code, reason in refused.output) == (2, True)


async def test_a_template_comes_from_a_file(stage: Stage, tmp_path: Path) -> None:
    """As JSON; a file that is none is refused by its option."""
    (tmp_path / "body.json").write_text('{"text": "{{ summary }}"}')
    await stage.done("add", "https://example.com/x", "--name", "own", "--template-file", str(tmp_path / "body.json"))
    assert (await stage.shown("own"))["template"] == {"text": "{{ summary }}"}
    for text, reason in (("{", "its file is not JSON"), ("[]", "its file holds no JSON object")):
        (tmp_path / "body.json").write_text(text)
        refused = await stage.run("add", "https://example.com/y", "--template-file", str(tmp_path / "body.json"))
        assert (refused.exit_code, f"--template-file: {reason}" in refused.output) == (2, True), refused.output


async def test_a_malformed_header_is_not_repeated(stage: Stage, tmp_path: Path) -> None:
    """The option is named."""
    (tmp_path / "headers").write_text("x-fine: hidden\nhidden\n")
    for words in (["--header", "hidden"], ["--header-file", str(tmp_path / "headers")]):
        refused = await stage.run("add", SLACK, *words)
        assert refused.exit_code == 2
        assert f"{words[0]}: a header is written NAME: VALUE" in refused.output
        assert "hidden" not in refused.output


async def test_list_has_id_name_format_state_events_and_success(orders: Stage) -> None:
    """Whole in a pipe: every column, every event, every id; those of single jobs with --all only."""
    registration = await orders.served.http.post(
        "/v1/registrations", json={"job_id": "j1", "callback_url": "https://example.com/once"}
    )
    once = registration.json()["endpoint"]["id"]
    titles, row = [line.split("\t") for line in (await orders.done("list")).splitlines()]
    assert titles == ["endpoint", "name", "format", "state", "success", "events", "to"]
    events = "job.completed,job.failed,job.cancelled,job.not_found,job.expired"
    id = (await orders.shown("orders"))["id"]
    assert row[:6] == [id, "orders", "standard", "enabled", "", events]
    assert once not in await orders.done("list")
    assert once in await orders.done("list", "--all")
    await orders.done("disable", "orders")
    assert "\tdisabled\t" in await orders.done("list")


@pytest.mark.parametrize("event", [None, "job.failed", "job.started"])
async def test_a_sample_arrives_and_the_answer_is_shown(orders: Stage, event: str | None) -> None:
    """Of the chosen type, signed, by name and by id."""
    orders.receiver.always(Respond(status=200, body=b"taken\x1b[31m"))
    said = await orders.done("test", "orders", *(["--event", event] if event else []))
    assert "✓ delivered 200 after " in said
    assert "the receiver answers: taken·[31m" in said
    [received] = orders.receiver.received
    assert (received.verified, received.event_type) == (True, event or "job.completed")
    id = (await orders.shown("orders"))["id"]
    attempt = json.loads(await orders.done("test", id, "--json"))
    assert (attempt["trigger"], attempt["status_code"]) == ("test", 200)


async def test_a_sample_that_fails_is_exit_code_1(orders: Stage) -> None:
    """With the receiver's status and answer; also as JSON."""
    orders.receiver.always(Respond(status=500, body=b"no room"))
    failed = await orders.run("test", "orders")
    assert failed.exit_code == 1
    assert "✗ " in failed.stdout
    assert " 500 after " in failed.stdout
    assert "no room" in failed.stdout
    assert (await orders.run("test", "orders", "--json")).exit_code == 1
    unknown = await orders.run("test", "orders", "--event", "job.done")
    assert unknown.exit_code == 2


async def test_an_edit_changes_what_it_names_and_no_more(orders: Stage) -> None:
    """Only the name: the next message has the same path, header and secret. No mask is ever saved as a value."""
    await orders.done("edit", "orders", "--header", "x-token: kept")
    assert "✓ invoices is changed: name" in await orders.done("edit", "orders", "--name", "invoices")
    masked = (await orders.shown("invoices"))["url"]
    assert "…" in masked
    refused = await orders.run("edit", "invoices", "--url", masked)
    assert (refused.exit_code, "masked" in refused.output) == (1, True)
    await orders.done("test", "invoices")
    [received] = orders.receiver.received
    assert (received.path, received.verified, received.headers["x-token"]) == ("/orders", True, "kept")
    await orders.done("edit", "invoices", "--event", "job.failed", "--url", f"{orders.url}/new")
    await orders.done("test", "invoices")
    assert orders.receiver.received[-1].path == "/orders/new"
    row = await orders.shown("invoices")
    assert (row["events"], row["name"]) == (["job.failed"], "invoices")
    empty = await orders.run("edit", "invoices")
    assert (empty.exit_code, "say what to change" in empty.output) == (2, True)


async def test_an_empty_option_ends_quiet_hours(stage: Stage) -> None:
    """And digests: an absent option leaves both."""
    await stage.done("add", SLACK, "--name", "sales", "--quiet", "22:00-07:00 Europe/Berlin", "--digest", "5m")
    await stage.done("edit", "sales", "--quiet", "")
    row = await stage.shown("sales")
    assert (row["quiet"], row["digest"]) == (None, "5m")


async def test_rotate_shows_the_new_secret_once(orders: Stage, tmp_path: Path) -> None:
    """A message is then signed by the new and by the old one; --secret-file brings one along, but no mask."""
    said = await orders.done("rotate", "orders")
    new = said.split("shown only now: ")[1].strip()
    for secret in (new, SECRET):
        orders.receiver.set_secrets(secret)
        await orders.done("test", "orders")
        assert orders.receiver.received[-1].verified
    (tmp_path / "secret").write_text(OTHER_SECRET)
    orders.receiver.set_secrets(OTHER_SECRET)
    await orders.done("rotate", "orders", "--secret-file", str(tmp_path / "secret"))
    await orders.done("test", "orders")
    assert orders.receiver.received[-1].verified
    (tmp_path / "secret").write_text("whsec_…")
    assert (await orders.run("rotate", "orders", "--secret-file", str(tmp_path / "secret"))).exit_code == 1


async def test_disable_holds_and_enable_releases(orders: Stage) -> None:
    """Each says what happens to deliveries, and how to go back."""
    assert "held until `relay endpoints enable orders`" in await orders.done("disable", "orders")
    assert (await orders.shown("orders"))["disabled_reason"] == "disabled by hand"
    assert "✓ orders is enabled; held deliveries that are sent now: 0" in await orders.done("enable", "orders")
    assert (await orders.shown("orders"))["enabled"]


async def test_delete_asks_first(orders: Stage) -> None:
    """It says what is lost; without a yes nothing is deleted."""
    unsure = await orders.run("delete", "orders", input="n\n")
    assert unsure.exit_code == 1
    assert "its pending deliveries cancelled" in unsure.stderr
    assert (await orders.shown("orders"))["name"] == "orders"
    assert "✓ orders is deleted" in await orders.done("delete", "orders", "--yes")
    gone = await orders.run("show", "orders")
    assert (gone.exit_code, "there is no endpoint named orders" in gone.stderr) == (1, True)


async def test_a_wrong_name_gets_a_suggestion(orders: Stage) -> None:
    """Exit code 1. A URL instead of a name is not repeated, and not sent."""
    wrong = await orders.run("test", "oders")
    assert (wrong.exit_code, 'named oders; did you mean "orders"?' in wrong.stderr) == (1, True)
    pasted = await orders.run("delete", SLACK)
    assert pasted.exit_code == 2
    assert "by its name or its id" in pasted.stderr
    assert "hidden" not in pasted.output
    missing = await orders.run("disable", "ep_01JC4ZJ5QX0000000000000000")
    assert (missing.exit_code, "there is no endpoint with this id" in missing.stderr) == (1, True)


@pytest.mark.parametrize(
    "verb", ["list", "show", "add", "test", "edit", "rotate", "disable", "enable", "replay", "delete"]
)
def test_every_verb_has_examples(verb: str) -> None:
    """In its help."""
    help = CliRunner().invoke(main, ["endpoints", verb, "--help"])
    assert f"relay endpoints {verb}" in help.output.split("Examples:")[1]
