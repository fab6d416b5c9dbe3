"""What the workflows may do, and what a release consists of. Run by `make workflows`, after actionlint."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import relay
from tests.node import lacks

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github/workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WORKFLOWS: dict[str, Any] = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}
RELEASE = WORKFLOWS["release"]["jobs"]
JOBS = [pytest.param(job, id=f"{name}: {key}") for name, one in WORKFLOWS.items() for key, job in one["jobs"].items()]
TRIGGER = True
"""What YAML makes of the key `on`."""


def steps(job: dict[str, Any], kind: str) -> list[str]:
    """What the steps of a job `run`, or which actions they `use`."""
    return [step[kind] for step in job["steps"] if kind in step]


def test_workflows_are_valid_for_github() -> None:
    judge = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    judged = subprocess.run([*judge, *map(str, FILES)], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_named_by_commit(path: Path) -> None:
    """Each has the release of the commit beside it, for people and for `make renew`; none has two commits."""
    lines = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    assert [
        line for line in lines if not re.search(r"uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)
    ] == []
    everywhere = re.findall(r"uses: (\S+)@(\S+)", "".join(one.read_text() for one in FILES))
    assert len(dict(everywhere)) == len(set(everywhere))


@pytest.mark.parametrize("job", JOBS)
def test_jobs_have_timeouts_and_minimal_permissions(job: dict[str, Any]) -> None:
    """Each job has a time limit, its own permissions, and a named machine, not the newest one."""
    assert 0 < job["timeout-minutes"] <= 90
    assert isinstance(job["permissions"], dict)
    assert "latest" not in job["runs-on"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_have_no_rights_and_do_not_overlap(name: str) -> None:
    """Permissions belong to jobs."""
    assert WORKFLOWS[name]["permissions"] == {}
    assert WORKFLOWS[name]["concurrency"]["group"]


def test_no_untrusted_text_is_executed() -> None:
    """No command contains an expression, values are variables, and no foreign code runs with our permissions."""
    commands = [run for one in WORKFLOWS.values() for job in one["jobs"].values() for run in steps(job, "run")]
    assert [run for run in commands if "${{" in run] == []
    assert not any({"pull_request_target", "workflow_run"} & set(one[TRIGGER]) for one in WORKFLOWS.values())


def test_write_permissions_are_minimal() -> None:
    """A job that may publish may do nothing else."""
    writing = {
        (name, key): {right for right, level in job["permissions"].items() if level == "write"}
        for name, one in WORKFLOWS.items()
        for key, job in one["jobs"].items()
    }
    assert {place: rights for place, rights in writing.items() if rights} == {
        ("release", "pypi"): {"id-token"},
        ("release", "image"): {"packages", "id-token"},
        ("release", "notes"): {"contents"},
        ("renewal", "renew"): {"contents", "pull-requests", "actions"},
    }
    kept = [
        step
        for job in (*WORKFLOWS["checks"]["jobs"].values(), *RELEASE.values())
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout@") and step["with"]["persist-credentials"] is not False
    ]
    assert kept == []


def test_ci_runs_the_project_s_checks() -> None:
    """CI uses every Python of pyproject.toml; its commands are targets of the Makefile, or `.ci/run`."""
    assert WORKFLOWS["checks"]["jobs"]["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    makefile = (ROOT / "Makefile").read_text()
    ran = [run for job in WORKFLOWS["checks"]["jobs"].values() for run in steps(job, "run")]
    assert "bash .ci/run" in ran
    targets = [run.removeprefix("make ") for run in ran if run.startswith("make ")]
    assert {"demo", "docs", "chart", "proxies", "image"} <= set(targets)
    assert [one for one in targets if not re.search(rf"^{one}:", makefile, re.MULTILINE)] == []


def test_pypi_trusts_only_the_release_workflow() -> None:
    """As CONTRIBUTING.md says: a pushed tag, no reusable workflow, one artifact that is built once, and a rerun
    continues."""
    assert WORKFLOWS["release"][TRIGGER] == {"push": {"tags": ["v*"]}}
    job = RELEASE["pypi"]
    assert (job["environment"], job["needs"]) == ("pypi", "build")
    told = (ROOT / "CONTRIBUTING.md").read_text()
    assert "`release.yml`" in told
    assert f"environment `{job['environment']}`" in told
    fetching, publishing = job["steps"]
    assert fetching["with"]["name"] == RELEASE["build"]["steps"][-1]["with"]["name"]
    assert publishing["with"] == {"skip-existing": True}


def test_the_image_is_pushed_once_and_used_by_digest() -> None:
    """It is signed as a whole and by architecture, tested without a login on both machines, and named by digest in the
    notes."""
    assert RELEASE["image"]["needs"] == "build"
    pushed, signed = steps(RELEASE["image"], "run")
    assert "bake release --push --metadata-file" in pushed
    assert "cosign sign --yes --recursive" in signed
    assert RELEASE["verify"]["strategy"]["matrix"]["machine"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    assert not any("login" in action for action in steps(RELEASE["verify"], "uses"))
    assert set(RELEASE["notes"]["needs"]) == {"build", "pypi", "image", "verify"}


def test_the_first_steps_of_the_release_work_locally(tmp_path: Path) -> None:
    """The steps of the release's build after `make release`, unchanged: their output is the job's outputs."""
    [names] = [step for step in RELEASE["build"]["steps"] if step.get("id") == "names"]
    script = names["run"].replace("git tag --list 'v*'", f"echo v{relay.__version__}")
    environ = os.environ | {"GITHUB_REF_NAME": f"v{relay.__version__}", "GITHUB_OUTPUT": str(tmp_path / "out")}
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        assert done.stderr.strip() == f"CHANGELOG.md has no section [{relay.__version__}]"
        pytest.skip(f"{relay.__version__} has no section of CHANGELOG.md yet: `make tag` makes it")
    said = dict(line.split("=", 1) for line in (tmp_path / "out").read_text().splitlines())
    used = {re.search(r"steps.names.outputs.([\w-]+)", value)[1] for value in RELEASE["build"]["outputs"].values()}  # type: ignore[index]
    assert set(said) == used
    assert said["version"] == relay.__version__


DIGEST, AMD64, ARM64, ATTESTED = (f"sha256:{digit * 64}" for digit in "0123")
INDEX = {
    "manifests": [
        {"digest": AMD64, "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": ARM64, "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": ATTESTED, "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
}
DOCKER = """#!/bin/sh
case "$*" in
  pull*) exit 0 ;;
  run*) echo "relay, version $SAYS" ;;
  *inspect*) echo "$INDEX" ;;
  *) exit 2 ;;
esac
"""
COSIGN = """#!/bin/sh
echo "$2" >> signed
case " $UNSIGNED " in *" ${2#*@} "*) exit 1 ;; esac
"""


def verified(folder: Path, index: Any = INDEX, says: str = "0.1.0", unsigned: str = "") -> tuple[int, str]:
    """The exit code and the output of the script that verifies a published image, with a registry's answers."""
    if shutil.which("jq") is None:
        lacks("jq", "the verification of a published image")
    folder.mkdir()
    for name, text in {"docker": DOCKER, "cosign": COSIGN}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    known = {"PATH": f"{folder}:{os.environ['PATH']}", "INDEX": json.dumps(index), "SAYS": says, "UNSIGNED": unsigned}
    asked = ["sh", str(ROOT / "deploy/verify-image.sh"), "ghcr.io/a/b", "0.1.0", DIGEST, "a/b"]
    done = subprocess.run(asked, cwd=folder, env=known, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_published_image_is_verified_whole_and_by_architecture(tmp_path: Path) -> None:
    """Index and both images are verified, the attestations beside them are not; a wrong version, a missing architecture
    and an unsigned image each fail."""
    assert verified(tmp_path / "fine")[0] == 0
    signed = (tmp_path / "fine/signed").read_text().split()
    assert signed == [f"ghcr.io/a/b@{one}" for one in (DIGEST, AMD64, ARM64)]
    assert "is not 0.1.0" in verified(tmp_path / "old", says="0.0.9")[1]
    without_arm = {"manifests": [INDEX["manifests"][0]]}
    code, said = verified(tmp_path / "amd", index=without_arm)
    assert (code, "has no image for arm64" in said) == (1, True)
    assert verified(tmp_path / "unsigned", unsigned=ARM64)[0] == 1
