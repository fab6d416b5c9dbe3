"""The chart, rendered by Helm and checked against Kubernetes' schema. Run by `make chart`, which installs Helm."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

import relay
from relay import config

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
EXISTING = "secrets.existingSecret=relay"
OWN = ("secrets.execApiKey=exec_live_1", "secrets.apiKeys=[sha256:0]", "secrets.secretKey=abc")
POSTGRESQL = ("store=postgresql", EXISTING)

Documents = list[dict[str, Any]]


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs Helm in the project's folder."""
    program = shutil.which("helm") or str(ROOT / ".venv/bin/helm")
    return subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def template(*values: str, example: Path | None = None, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Helm's result of rendering the chart with these values, each `name=value`."""
    given = [word for value in values for word in ("--set", value)]
    files = ["-f", str(example)] if example else []
    return helm("template", "relay", str(CHART), "--kube-version", "1.31.0", *files, *given, *more)


def rendered(*values: str, example: Path | None = None, more: tuple[str, ...] = ()) -> Documents:
    """The rendered documents."""
    done = template(*values, example=example, more=more)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(documents: Documents, kind: str) -> Documents:
    return [document for document in documents if document["kind"] == kind]


def pod(documents: Documents) -> dict[str, Any]:
    """The template of the relay's pods: labels, annotations, and `spec`."""
    [workload] = [document for document in documents if document["kind"] in {"StatefulSet", "Deployment"}]
    found: dict[str, Any] = workload["spec"]["template"]
    return found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_helm_lint_passes(example: Path) -> None:
    """`helm lint`, warnings as errors, with each example's values."""
    linted = helm("lint", "--strict", str(CHART), "-f", str(example))
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_rendered_documents_are_valid_for_kubernetes(example: Path) -> None:
    """Each document is valid by Kubernetes' schema; the monitor is of a kind that Kubernetes does not define."""
    documents = rendered(example=example)
    own = [document for document in documents if document["kind"] != "ServiceMonitor"]
    for document in own:
        validate(document, "1.31", strict=True)
    assert {"Service"} < {document["kind"] for document in own}


def test_plain_manifests_are_the_chart_s(tmp_path: Path) -> None:
    """`deploy/kubernetes` is what `make manifests` writes."""
    made = subprocess.run(["sh", ROOT / "requirements/manifests.sh", tmp_path], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in (ROOT / "deploy/kubernetes").iterdir()}
    assert kept == written


def test_the_chart_generates_no_secret() -> None:
    """The same values give the same bytes: nothing is random or depends on the cluster's contents."""
    assert template(*OWN).stdout == template(*OWN).stdout
    sources = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    assert re.findall(r"\b(rand\w+|gen\w*(?:Cert|Key|CA)\w*|lookup|uuidv4|now|derivePassword)\b", sources) == []


def test_an_existing_secret_is_used_as_it_is() -> None:
    """The chart renders no Secret, and every secret variable comes from the named one."""
    documents = rendered(*POSTGRESQL)
    assert of_kind(documents, "Secret") == []
    [container] = pod(documents)["spec"]["containers"]
    taken = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"] if "valueFrom" in one}
    assert {one["name"] for one in taken.values()} == {"relay"}
    assert not any(one.get("optional") for one in taken.values())
    assert {one["key"] for one in taken.values()} == {"exec-api-key", "api-keys", "secret-key", "storage-url"}


def test_a_changed_secret_restarts_the_pods() -> None:
    """The pods' template changes with a value of the Secret that the chart makes."""
    before, after = rendered(*OWN), rendered(*OWN[:2], "secrets.secretKey=other")
    assert len(of_kind(before, "Secret")) == 1
    assert pod(before) != pod(after)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((), "kubectl create secret generic relay"),
        (OWN[:2], "secrets.secretKey: is missing"),
        (("store=postgresql", *OWN), "secrets.storageUrl: is missing"),
        ((EXISTING, "replicas=2"), "for several set store=postgresql"),
        ((EXISTING, "ingress.enabled=true"), "trustedProxies: must name"),
        ((EXISTING, "metrics.serviceMonitor.enabled=true"), "with the scope read"),
        ((EXISTING, "drainSeconds=25"), "terminationGracePeriodSeconds: must be more"),
        ((EXISTING, "config.server.port=9000"), "config.server.port: has a separate value"),
        ((EXISTING, "config.server.drain=9s"), "config.server.drain: has a separate value"),
        ((EXISTING, "config.metrics.port=9090"), "config.metrics: has a separate value"),
        ((EXISTING, "metrics.port=8080"), "port"),
        ((EXISTING, OWN[0]), "secrets.execApiKey: secrets.existingSecret is used instead"),
        ((*OWN, "secrets.storageUrl=postgresql://relay:x@db/relay"), "secrets.storageUrl: is for store=postgresql"),
        ((*OWN, "config.workspaces[0].name=sales"), "secrets.execApiKey: each of config.workspaces has a key"),
        ((EXISTING, "extraEnv[0].name=RELAY_SERVER__DRAIN"), "extraEnv: RELAY_SERVER__DRAIN has a separate value"),
        ((EXISTING, "extraEnv[0].name=TZ", "extraEnv[1].name=TZ"), "extraEnv: TZ is there twice"),
        ((EXISTING, "config.storage.url=postgresql://relay:x@db/relay"), "config.storage.url: has a separate value"),
        ((EXISTING, "config.exec.api_key=exec_live_1"), "config.exec.api_key: has a separate value"),
        ((EXISTING, "replica=2"), "replica"),
        ((EXISTING, "store=mysql"), "store"),
    ],
)
def test_impossible_values_fail_to_render(values: tuple[str, ...], said: str) -> None:
    """The error says what is wrong and what to do."""
    done = template(*values)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize(
    ("values", "kind", "budgets"),
    [
        ((EXISTING,), "StatefulSet", []),
        ((*POSTGRESQL, "replicas=1"), "Deployment", []),
        ((*POSTGRESQL, "replicas=3"), "Deployment", [1]),
    ],
)
def test_replicas_fit_the_store(values: tuple[str, ...], kind: str, budgets: list[int]) -> None:
    """SQLite never has two relays on the file. There is a disruption budget only if a relay remains to serve."""
    documents = rendered(*values)
    assert len(of_kind(documents, kind)) == 1
    assert [one["spec"]["maxUnavailable"] for one in of_kind(documents, "PodDisruptionBudget")] == budgets


def test_the_volume_outlives_the_release() -> None:
    """The claim belongs to the StatefulSet, which Helm never deletes; a named existing claim is used."""
    documents = rendered(EXISTING)
    assert of_kind(documents, "PersistentVolumeClaim") == []
    assert "volumeClaimTemplates" in of_kind(documents, "StatefulSet")[0]["spec"]
    named = rendered(EXISTING, "persistence.existingClaim=kept")
    assert "volumeClaimTemplates" not in of_kind(named, "StatefulSet")[0]["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "kept"}} in pod(named)["spec"]["volumes"]


def ids_of(documents: Documents) -> set[str]:
    """The user and group of the pods."""
    return set(re.findall(r"\b(runAsUser|runAsGroup|fsGroup|supplementalGroups)\b", yaml.safe_dump(pod(documents))))


def test_no_user_id_is_fixed() -> None:
    """OpenShift chooses users and groups. Elsewhere a volume needs its group, and nothing else is named."""
    assert ids_of(rendered(*POSTGRESQL)) == set()
    assert ids_of(rendered(EXISTING, more=("--api-versions", "security.openshift.io/v1"))) == set()
    assert ids_of(rendered(EXISTING)) == {"fsGroup"}
    assert pod(rendered(EXISTING))["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


@pytest.mark.parametrize("values", [(EXISTING,), POSTGRESQL], ids=["sqlite", "postgresql"])
def test_pods_have_time_to_start_and_stop(values: tuple[str, ...]) -> None:
    """Migrations have ten minutes; probes ask the listener, not the database; a stop leaves time for attempts in
    flight."""
    spec = pod(rendered(*values))["spec"]
    [container] = spec["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600
    assert startup["httpGet"]["path"] == container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz?exclude=exec"
    [drain] = [int(one["value"].removesuffix("s")) for one in container["env"] if one["name"] == "RELAY_SERVER__DRAIN"]
    assert drain == 5
    assert spec["terminationGracePeriodSeconds"] > drain + config.DeliverySection().timeout / 1000
    assert spec["enableServiceLinks"] is False


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_chart_s_configuration_is_valid(example: Path, tmp_path: Path) -> None:
    """Variables and configuration file together are a valid configuration, behind the named proxies."""
    documents = rendered(example=example)
    secrets = {
        "exec-api-key": "exec_live_" + "0" * 40,
        "exec-api-key-sales": "exec_live_" + "1" * 40,
        "exec-api-key-success": "exec_live_" + "2" * 40,
        "api-keys": f"[sha256:{'0' * 64}]",
        "secret-key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "storage-url": "postgresql://relay:x@postgres/relay",
    }
    [container] = pod(documents)["spec"]["containers"]
    environ = {
        one["name"]: one.get("value") or secrets[one["valueFrom"]["secretKeyRef"]["key"]] for one in container["env"]
    }
    maps = of_kind(documents, "ConfigMap")
    path = tmp_path / "config.yaml"
    path.write_text(maps[0]["data"]["config.yaml"] if maps else "{}")
    found = config.load(path, {"RELAY_SERVER__HOST": "0.0.0.0"} | environ)  # noqa: S104 (as the image)
    public = of_kind(documents, "Ingress") != []
    assert (found.server.public_url is not None, found.server.trusted_proxies != ()) == (public, public)


def test_the_network_policy_lets_through_what_the_relay_needs() -> None:
    """In: the Ingress controller and Prometheus. Out: DNS, the database, public receivers; nothing private."""
    [policy] = of_kind(rendered(example=CHART / "examples/ingress.yaml"), "NetworkPolicy")
    [incoming] = policy["spec"]["ingress"]
    names = [one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for one in incoming["from"]]
    assert names == ["ingress-nginx", "monitoring"]
    dns, database, receivers = policy["spec"]["egress"]
    assert dns == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    assert (database["ports"], len(database["to"])) == ([{"port": 5432, "protocol": "TCP"}], 1)
    assert [one["port"] for one in receivers["ports"]] == [80, 443]
    blocks = [one["ipBlock"] for one in receivers["to"]]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0", "::/0"]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(blocks[0]["except"])


def test_a_receiver_inside_the_cluster_can_be_allowed() -> None:
    """The example opens its port; without monitoring only the Ingress controller may connect."""
    [policy] = of_kind(rendered(example=CHART / "examples/receiver-inside.yaml"), "NetworkPolicy")
    assert policy["spec"]["egress"][-1]["ports"] == [{"port": 5678, "protocol": "TCP"}]
    assert len(policy["spec"]["ingress"][0]["from"]) == 1
    assert not any(one.get("port") == 5432 for rule in policy["spec"]["egress"] for one in rule["ports"])


def test_the_service_monitor_sends_a_key() -> None:
    """Prometheus finds the Service's port, and the key that /metrics requires."""
    documents = rendered(example=CHART / "examples/ingress.yaml")
    [monitor], [service] = of_kind(documents, "ServiceMonitor"), of_kind(documents, "Service")
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["authorization"]["credentials"] == {"name": "relay-metrics", "key": "api-key"}


def test_metrics_have_a_port_of_their_own_if_wished() -> None:
    """The pod listens there, Service and Prometheus name it, it needs no key, and API clients do not reach it."""
    wish = ("metrics.port=9090", "metrics.serviceMonitor.enabled=true", "networkPolicy.enabled=true")
    documents = rendered(EXISTING, *wish)
    [container] = pod(documents)["spec"]["containers"]
    assert {one["name"]: one["containerPort"] for one in container["ports"]} == {"http": 8080, "metrics": 9090}
    environ = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    found = config.load(None, {"RELAY_EXEC__API_KEY": "exec_live_" + "0" * 40} | environ)
    assert (found.metrics.host, found.metrics.port) == ("0.0.0.0", 9090)  # noqa: S104 (in the pod)
    [service], [monitor] = of_kind(documents, "Service"), of_kind(documents, "ServiceMonitor")
    assert {"name": "metrics", "port": 9090, "targetPort": "metrics"} in service["spec"]["ports"]
    [endpoint] = monitor["spec"]["endpoints"]
    assert (endpoint["port"], "authorization" in endpoint) == ("metrics", False)
    [policy] = of_kind(documents, "NetworkPolicy")
    allowed = {
        one["ports"][0]["port"]: [
            who["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for who in one["from"]
        ]
        for one in policy["spec"]["ingress"]
    }
    assert allowed == {"http": ["ingress-nginx"], "metrics": ["monitoring"]}


def test_the_image_is_named_once() -> None:
    """Repository, tag and digest are values; by default the tag is the relay's version."""

    def image(*values: str) -> str:
        return str(pod(rendered(EXISTING, *values))["spec"]["containers"][0]["image"])

    repository = VALUES["image"]["repository"]
    assert image() == f"{repository}:{relay.__version__}"
    assert image("image.repository=registry.example/relay", "image.tag=9.9.9") == "registry.example/relay:9.9.9"
    assert image(f"image.digest=sha256:{'0' * 64}") == f"{repository}@sha256:{'0' * 64}"
