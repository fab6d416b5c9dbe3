"""`relay doctor`: what helps, and nothing that is secret."""

import asyncio
from pathlib import Path

from click.testing import CliRunner, Result

from relay.cli import main
from relay.delivery.enqueue import enqueue
from relay.model import EndpointKind, Secret
from relay.signing import standard_webhooks
from relay.store.engine.database import Store, Tx
from relay.store.tables import endpoints, events, workspaces
from tests.make import NOON, make_endpoint, make_event

MARK = "markedassecret"
SECRET = standard_webhooks.new_secret(MARK.encode() * 3)
CONFIG = f"""
exec: {{api_key: exec_live_{MARK}00000000000000000000000000, base_url: "https://exec.{MARK}.example/rest/v1"}}
workspaces: []
storage: {{url: "sqlite:///STORE"}}
server: {{public_url: "https://relay.{MARK}.example"}}
security:
  secret_key: {MARK}{MARK}{MARK}{MARK}
  allow_networks: [10.77.0.0/16]
  api_keys: [{{name: {MARK}, key: relay_{MARK}0123456789abcdef}}]
polling: {{strategy: interval, interval: 33s}}
endpoints:
  - name: {MARK}
    url: https://hooks.slack.com/services/T000/B000/{MARK}
    secret: {SECRET}
    headers: {{x-token: {MARK}}}
"""


def doctor(folder: Path, text: str) -> Result:
    """The report on a configuration; STORE in it is the store of this test."""
    path = folder / "config.yaml"
    path.write_text(text.replace("STORE", str(folder / "relay.db")))
    return CliRunner().invoke(main, ["doctor", "--config", str(path)])


async def fill(folder: Path) -> None:
    """A store with a delivery, whose every name and address is marked."""
    store = await Store.open(f"sqlite:///{folder}/relay.db")
    url = f"https://hooks.slack.com/services/{MARK}"
    endpoint = make_endpoint(url=url, name=MARK, kind=EndpointKind.STANDING, secrets=(Secret(SECRET),))
    event = make_event(MARK)

    def work(tx: Tx) -> None:
        endpoints.add(tx, endpoint)
        enqueue(tx, events.add(tx, event), [(endpoint, None)], NOON, 0)
        workspaces.lock(tx, MARK)

    await store.write(work)
    await store.aclose()


def test_report_says_what_helps_and_no_secret(tmp_path: Path) -> None:
    """Versions, settings and counts; of keys, addresses, names and ids only if they are set."""
    asyncio.run(fill(tmp_path))
    report = doctor(tmp_path, CONFIG)
    assert report.exit_code == 0, report.output
    for line in (
        "- polling.interval: 33000",
        "- polling.strategy: interval",
        "- budget of workspace 1: per_minute=60 per_day=1000 share=0.8",
        "- security.secret_key: set",
        "- endpoint 1: format slack, 3 events, 1 extra headers",
        "- deliveries: 1",
        "- pending: 1",
    ):
        assert line in report.output, report.output
    assert MARK not in report.output
    assert "10.77" not in report.output


def test_report_lists_every_workspace_and_endpoint(tmp_path: Path) -> None:
    """By number: their names may say whose they are."""
    text = (
        f"workspaces: [{{name: {MARK}, api_key: k}}, {{name: b, api_key: l, budget: {{share: 0.5}}}}]\n"
        f"storage: {{url: 'sqlite:///STORE'}}\n"
        "endpoints: [{name: a, url: 'https://hooks.slack.com/services/T/B/x'}, "
        "{name: b, url: 'https://x.example', events: [job.failed]}]\n"
    )
    report = doctor(tmp_path, text).output
    assert "- budget of workspace 1: per_minute=60 per_day=1000 share=0.8\n" in report
    assert "- budget of workspace 2: per_minute=60 per_day=1000 share=0.5\n" in report
    assert "- endpoint 1: format slack, 3 events, 0 extra headers\n" in report
    assert "- endpoint 2: format standard, 1 events, 0 extra headers\n" in report
    assert MARK not in report


def test_report_of_a_configuration_that_can_not_be_used(tmp_path: Path) -> None:
    """It contains the problems of the configuration."""
    report = doctor(tmp_path, "exec: {api_kye: x}")
    assert report.exit_code == 0
    assert "It can't be used" in report.output
    assert "api_key" in report.output


def test_report_without_a_store(tmp_path: Path) -> None:
    """It says that there is no store, and creates none."""
    report = doctor(tmp_path, CONFIG)
    assert report.exit_code == 0
    assert "there is no store at" in report.output
    assert MARK not in report.output
    assert not (tmp_path / "relay.db").exists()


async def test_report_while_a_relay_works(tmp_path: Path) -> None:
    """The store is read beside the relay that holds it."""
    store = await Store.open(f"sqlite:///{tmp_path}/relay.db")
    report = await asyncio.to_thread(doctor, tmp_path, CONFIG)
    await store.aclose()
    assert "- database: sqlite 3" in report.output
