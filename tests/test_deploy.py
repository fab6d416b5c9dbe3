"""What operators deploy with: each file judged by a public validator, and against the relay's own names."""

import configparser
import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from docs.generating.metrics import collectors
from relay import config
from relay.telemetry.metrics import Metrics
from tests.docs.pages import sections

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_compose_files_are_valid(tmp_path: Path) -> None:
    """Compose's own schema takes ours, and the one that the documentation lays over it."""
    beside = tmp_path / "compose.override.yaml"
    beside.write_text(sections(ROOT / "docs/how-to/litestream.md")["Copy the file"].files[beside.name])
    judge = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    judged = subprocess.run([*judge, "compose.yaml", beside], cwd=ROOT, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def filled(text: str) -> str:
    """A value of the Compose file, its variables replaced by their defaults."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("name", ["relay", "relay-a", "relay-b", "try"])
def test_the_compose_files_relays_have_a_valid_configuration(name: str) -> None:
    """The relay takes the environment that each is given, beside what the image sets."""
    given = COMPOSE["services"][name]["environment"]
    dotenv = {"RELAY_EXEC__API_KEY": "exec_live_" + "0" * 40, "RELAY_SECURITY__API_KEYS": f"[sha256:{'0' * 64}]"}
    passed_on = {key: dotenv[key] for key, value in given.items() if value is None and key in dotenv}
    set_here = {key: filled(value) for key, value in given.items() if value is not None}
    found = config.load(None, {"RELAY_SERVER__HOST": "0.0.0.0"} | passed_on | set_here)  # noqa: S104 (as the image)
    assert found.storage.url.startswith("postgresql://" if name.startswith("relay-") else "sqlite:///")


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_manifests_are_valid_for_kubernetes(path: Path) -> None:
    """Each document is valid, to the letter of Kubernetes' schema."""
    documents = list(yaml.safe_load_all(path.read_text()))
    assert len(documents) >= 2
    for document in documents:
        validate(document, "1.31", strict=True)


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_pods_are_restricted(path: Path) -> None:
    """No root, no privileges, nothing to write to but what it needs; asked whether it works before it gets requests."""
    documents = list(yaml.safe_load_all(path.read_text()))
    [workload] = [one for one in documents if one["kind"] in {"StatefulSet", "Deployment"}]
    pod = workload["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz?exclude=exec"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    secret = {variable["name"]: variable["valueFrom"] for variable in container["env"] if "valueFrom" in variable}
    plain = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
    assert all(re.fullmatch(r"RELAY_[A-Z]+__[A-Z_]+", key) for key in (*secret, *plain))
    assert {"RELAY_EXEC__API_KEY", "RELAY_SECURITY__API_KEYS", "RELAY_SECURITY__SECRET_KEY"} <= set(secret)
    assert not any(one["secretKeyRef"].get("optional") for one in secret.values())
    assert set(plain) == {"RELAY_SERVER__DRAIN", "RELAY_SERVER__TRUSTED_PROXIES"}


def test_no_default_password_is_set() -> None:
    """PostgreSQL's is the operator's: there is none by default, and none that stands in an address."""
    text = (ROOT / "compose.yaml").read_text()
    assert re.findall(r"\$\{POSTGRES_PASSWORD[^}]*\}", text) == ["${POSTGRES_PASSWORD:-}"] * 2
    addresses = [
        one["environment"].get("RELAY_STORAGE__URL", "") for one in COMPOSE["services"].values() if "environment" in one
    ]
    assert {one for one in addresses if one} == {"postgresql://relay@postgres/relay"}


def trusted() -> dict[str, str]:
    """What each way to run it says of the proxies before it."""
    name = "RELAY_SERVER__TRUSTED_PROXIES"
    cloud_run = yaml.safe_load((DEPLOY / "cloudrun.yaml").read_text())["spec"]["template"]["spec"]["containers"][0]
    return {
        "fly": tomllib.loads((DEPLOY / "fly.toml").read_text())["env"][name],
        "cloud run": next(one["value"] for one in cloud_run["env"] if one["name"] == name),
        **{one: filled(COMPOSE["services"][one]["environment"][name]) for one in ("relay", "relay-a", "relay-b")},
    }


@pytest.mark.parametrize("name", ["fly", "cloud run", "relay", "relay-a", "relay-b"])
def test_every_deployment_trusts_its_proxy(name: str) -> None:
    """So that one stranger's wrong keys count against him, and not against all who come through the proxy."""
    environ = {"RELAY_EXEC__API_KEY": "exec_live_" + "0" * 40, "RELAY_SERVER__TRUSTED_PROXIES": trusted()[name]}
    [network] = config.load(None, environ).server.trusted_proxies
    assert network.is_private
    if name.startswith("relay"):
        [own] = COMPOSE["networks"]["default"]["ipam"]["config"]
        assert str(network) == f"{own['gateway']}/32"
        assert ip_address(own["gateway"]) in ip_network(own["subnet"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_the_systemd_unit_is_valid(tmp_path: Path) -> None:
    """systemd-analyze has nothing to say about it, beyond that the program is not installed here."""
    unit = tmp_path / "relay.service"
    unit.write_text((DEPLOY / "systemd/relay.service").read_text().replace("/opt/relay/bin/relay", "/bin/true"))
    judged = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    said = [line for line in judged.stderr.splitlines() if str(unit) in line or "relay.service" in line]
    assert said == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_the_systemd_unit_is_restricted() -> None:
    """By systemd's own count of what a service may still do, which is 9.6 for one that may do anything."""
    judge = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(DEPLOY / "systemd/relay.service")]
    judged = subprocess.run(judge, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout


def test_systemd_restarts_the_unit_without_limit() -> None:
    """Seconds apart and without an end, as when a database comes up later; stopping has time for what is sent."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "systemd/relay.service")
    service = unit["Service"]
    assert (unit["Unit"]["StartLimitIntervalSec"], service["Restart"]) == ("0", "always")
    assert int(service["RestartSec"]) >= 2
    assert int(service["TimeoutStopSec"]) > 10
    assert (service["MemoryDenyWriteExecute"], service["ProcSubset"]) == ("yes", "pid")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
@pytest.mark.parametrize("judge", [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]])
def test_alerts_are_valid_for_prometheus(judge: list[str]) -> None:
    """The rules are rules, and fire when they should."""
    judged = subprocess.run(
        ["promtool", *judge], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_every_alert_fires_in_a_test() -> None:
    """The tests of the rules expect each of them at least once."""
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"][0]["rules"]
    tested = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yaml").read_text())["tests"]
    fired = {one["alertname"] for test in tested for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules}


def metrics() -> set[str]:
    """The names of all samples that the relay gives."""
    found: set[str] = set()
    for metric in Metrics().registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric.type, [""])
        found |= {metric.name + suffix for suffix in suffixes}
    return found


def queries(value: Any) -> list[str]:
    """Every query in alerts or dashboard."""
    if isinstance(value, dict):
        own = [value["expr"]] if isinstance(value.get("expr"), str) else []
        return own + [query for item in value.values() for query in queries(item)]
    return [query for item in value for query in queries(item)] if isinstance(value, list) else []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
def test_metrics_are_valid_for_prometheus() -> None:
    """Names, units and labels are as Prometheus' own linter wants them."""
    metrics = Metrics()
    metrics.initialize(["default"])
    metrics.learned_duration.labels("default", "50").set(1)
    lint = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.prometheus_text(), capture_output=True, check=False
    )
    assert lint.stderr.decode() == ""


def test_names_and_labels_of_metrics_are_stable() -> None:
    """What alerts and dashboards of others may rest on keeps its name and its labels."""
    found = {one._name: set(one._labelnames) for one in collectors()}
    expected = {
        "relay_polls": {"workspace", "outcome"},
        "relay_poll_budget_remaining": {"workspace", "window"},
        "relay_detection_delay_seconds": set(),
        "relay_delivery_attempts": {"format", "outcome"},
        "relay_delivery_delay_seconds": set(),
        "relay_pending_deliveries": set(),
        "relay_tick_age_seconds": set(),
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("path", ["prometheus/alerts.yaml", "grafana/dashboard.json"])
def test_alerts_and_panels_use_existing_metrics(path: str) -> None:
    """Alerts and dashboard ask for nothing that the relay does not give."""
    asked = queries(yaml.safe_load((DEPLOY / path).read_text()))
    names = {name for query in asked for name in re.findall(r"\b(?:relay_[a-z_]+)", query)}
    assert len(names) >= 5
    assert names - metrics() == set()


def test_the_grafana_dashboard_is_up_to_date() -> None:
    """`dashboard.json` is what `make.py` writes."""
    made = runpy.run_path(str(DEPLOY / "grafana/make.py"))["dashboard"]()
    assert json.loads((DEPLOY / "grafana/dashboard.json").read_text()) == made
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
