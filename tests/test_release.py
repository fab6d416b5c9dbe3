"""What is released: a wheel that has all that the relay needs, and nothing besides."""

import re
import subprocess
import sys
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

import relay
from requirements.readme import absolute

ROOT = Path(__file__).parents[1]
MAKING = (ROOT / "requirements/release.sh").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, made as the image and `make release` make it: out of what the repository holds."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if name.startswith(("relay/", "pyproject.toml", "README.md", "LICENSE")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    making = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    made = subprocess.run(
        [*making, "--disable-pip-version-check", "--wheel-dir", str(folder), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_string(wheel.read(name).decode())


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """Templates, styles, scripts, migrations, the mark of types: each file of relay/ that the repository has."""
    listed = subprocess.run(["git", "ls-files", "relay"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wanted = set(listed.split())
    packed = {name for name in wheel.namelist() if not name.startswith("exec_relay-")}
    assert packed == wanted
    assert {"relay/py.typed", "relay/web/dashboard/templates/base.html", "relay/store/migrations/env.py"} <= packed


def test_the_wheel_has_its_metadata(wheel: zipfile.ZipFile) -> None:
    """Version, licence, Python, extras and the README are in its metadata; the command is `relay`."""
    fields = metadata(wheel)
    assert (fields["Name"], fields["Version"]) == ("exec-relay", relay.__version__)
    assert (fields["License-Expression"], fields["Requires-Python"]) == ("MIT", ">=3.11")
    assert any(url.startswith("Source, https://") for url in fields.get_all("Project-URL", []))
    assert {"postgres", "otel"} <= set(fields.get_all("Provides-Extra", []))
    assert "# The relay" in fields.get_payload()
    [entries] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "relay = relay.cli:main" in wheel.read(entries).decode()
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert sum(entry.compress_size for entry in wheel.infolist()) < 1_000_000, "what people download"


def test_the_version_is_defined_once() -> None:
    """`relay/__init__.py` alone names it, and it is a version of Semantic Versioning."""
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", relay.__version__)
    quoted = f'"{relay.__version__}"'
    files = [
        ROOT / "pyproject.toml",
        ROOT / "Dockerfile",
        *(ROOT / "relay").rglob("*.py"),
        *(ROOT / "docs").rglob("*.py"),
    ]
    assert [path for path in files if quoted in path.read_text()] == [ROOT / "relay/__init__.py"]


def test_the_readme_has_no_relative_link_at_pypi() -> None:
    """Links and pictures lead to the repository, at the version's tag; each leads to a file that is there."""
    repository, tag = "https://github.com/a/b", f"v{relay.__version__}"
    text = absolute((ROOT / "README.md").read_text(), repository, relay.__version__)
    targets = re.findall(r"\]\(([^)]+)\)|<img src=\"([^\"]+)\"", text)
    links = [one or other for one, other in targets]
    assert [link for link in links if not link.startswith("https://")] == []
    own = [link for link in links if "/a/b/" in link]
    assert len(own) >= 20
    for link in own:
        host = "raw.githubusercontent.com" if link.endswith((".png", ".svg")) else "github.com"
        assert link.startswith(f"https://{host}/a/b/")
        assert (ROOT / link.partition(f"/{tag}/")[2].partition("#")[0]).exists(), link


def test_the_installed_release_runs_the_demo() -> None:
    """The release target builds both, judges the metadata strictly, installs the wheel by hash and runs the demo."""
    steps = [
        "-m build",
        "twine check --strict",
        "-m venv",
        "--require-hashes",
        '--no-deps "$wheel"',
        "relay demo --json",
    ]
    assert [step for step in steps if step not in MAKING] == []
    assert "set -eu" in MAKING
