"""How a release gets its names: tags, what is latest, notes, the tag's commit; and how digests are renewed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import relay
from requirements import renew
from requirements.notes import notes, section
from requirements.tagging import NAMING, disagreeing, released
from requirements.tags import names

ROOT = Path(__file__).parents[1]
CHANGELOG = """\
# Changelog

## [Unreleased]

### Added

- A thing.

## [0.0.9] - 2026-01-01

### Fixed

- An older thing.
"""


@pytest.mark.parametrize(
    ("tag", "tags", "image", "prerelease"),
    [
        ("v0.1.0", ["v0.1.0"], "0.1.0,0.1,latest", "false"),
        ("v0.2.0", ["v0.1.0", "v0.1.1", "v0.2.0"], "0.2.0,0.2,latest", "false"),
        ("v0.1.1-rc1", ["v0.1.0", "v0.1.1-rc1"], "0.1.1-rc1", "true"),
        ("v0.2.0-rc1", ["v0.2.0-rc1"], "0.2.0-rc1", "true"),
        ("v0.1.9", ["v0.1.8", "v0.1.9", "v0.2.0"], "0.1.9,0.1", "false"),
        ("v0.1.8", ["v0.1.8", "v0.1.9", "v0.2.0"], "0.1.8", "false"),
        ("v0.10.0", ["v0.9.0", "v0.10.0"], "0.10.0,0.10,latest", "false"),
        ("v0.2.0", ["v0.2.0", "v0.3.0-rc1", "old", "v1"], "0.2.0,0.2,latest", "false"),
    ],
)
def test_latest_is_the_highest_final_version(tag: str, tags: list[str], image: str, prerelease: str) -> None:
    """Neither a release candidate nor a release of an older line takes it."""
    named = names(tag, tags)
    assert (named["image-tags"], named["prerelease"]) == (image, prerelease)
    assert named["latest"] == str(image.endswith("latest")).lower()


@pytest.mark.parametrize("tag", ["0.1.0", "v0.1", "v1.2.3;x", "vx", "v0.1.0 ", "v0.1.0-"])
def test_other_tags_are_not_released(tag: str) -> None:
    """A tag that is no version is refused."""
    with pytest.raises(ValueError, match="vX.Y.Z"):
        names(tag, [tag])


def test_a_tag_of_another_version_is_refused() -> None:
    """As the workflow calls it: with the version of the code on one side, and the pushed tag on the other."""
    wrong = [sys.executable, "-m", "requirements.tags", "v9.9.9"]
    done = subprocess.run(wrong, cwd=ROOT, input="v9.9.9\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "v9.9.9 is not the code's version" in done.stderr


def test_notes_name_the_digest() -> None:
    """The digest, the version, and how the signature is verified: by the very workflow file that there is."""
    text = notes("0.1.0", "ghcr.io/a/b", "sha256:" + "0" * 64, "a/b")
    assert f"docker pull ghcr.io/a/b@sha256:{'0' * 64}" in text
    assert "pip install exec-relay==0.1.0" in text
    [path] = re.findall(r"a/b/(\.github/\S+)@refs/tags/v0\.1\.0", text)
    assert (ROOT / path).exists()
    judge = (ROOT / "deploy/verify-image.sh").read_text()
    assert f"/{path}@refs/tags/v$version" in judge


def test_the_changelog_s_section_is_found() -> None:
    """A section is what stands beneath its heading; what is under Unreleased becomes one, and nothing else changes."""
    assert section("0.0.9", CHANGELOG) == "### Fixed\n\n- An older thing."
    assert section("0.1.0", CHANGELOG) is None
    after = released(CHANGELOG, "0.1.0", "2026-02-01")
    assert section("0.1.0", after) == "### Added\n\n- A thing."
    assert section("0.0.9", after) == section("0.0.9", CHANGELOG)
    assert after.replace("\n## [0.1.0] - 2026-02-01\n", "", 1) == CHANGELOG
    with pytest.raises(ValueError, match="nothing under Unreleased"):
        released(after, "0.1.1", "2026-02-02")


def test_the_version_is_the_same_everywhere() -> None:
    """Whatever names a version of the image names this one; a file that does not is found."""
    assert list(disagreeing(ROOT, relay.__version__)) == []
    assert len(list(disagreeing(ROOT, "99.0.0"))) == len(NAMING)


def test_the_image_has_one_name() -> None:
    """Each tool's file names the published image, and they agree."""
    values = yaml.safe_load((ROOT / "deploy/helm/values.yaml").read_text())
    image = values["image"]["repository"]
    found = {
        name: set(re.findall(r"ghcr\.io/[\w.-]+/[\w.-]+", (ROOT / name).read_text()))
        for name in (*NAMING, ".github/workflows/release.yml")
    }
    assert {name: one for name, one in found.items() if one != {image} and "Chart" not in name} == {}


def test_make_tag_does_everything_except_the_push(tmp_path: Path) -> None:
    """In a clone: the section is made, committed and tagged; a second time, and with changes about, it is refused."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if name.startswith(("relay/", "requirements/", "compose", "deploy/", "CHANGELOG")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    run("git", "init", "-q")
    run("git", "config", "user.name", "Somebody")
    run("git", "config", "user.email", "somebody@example.com")
    run("git", "add", "-A")
    run("git", "commit", "-qm", "All of it")
    tagging = [sys.executable, "-m", "requirements.tagging"]
    (tmp_path / "more").touch()
    assert "Commit or put away" in run(*tagging).stdout
    (tmp_path / "more").unlink()
    made = run(*tagging)
    tag = f"v{relay.__version__}"
    assert (made.returncode, f"git push origin HEAD {tag}" in made.stdout) == (0, True), made.stdout + made.stderr
    assert section(relay.__version__, run("git", "show", f"{tag}:CHANGELOG.md").stdout) == "### Added\n\n- A thing."
    assert run("git", "cat-file", "-t", tag).stdout == "tag\n"
    again = run(*tagging)
    assert (again.returncode, "is there already" in again.stdout) == (1, True)


OLD, NEW = "0" * 64, "1" * 64
COMMITS = {"v4.9.0": "a" * 40, "v4.10.1": "b" * 40, "v5.0.0": "c" * 40}


def test_digests_are_renewed() -> None:
    """An image keeps its tag and gets the digest of today; an action gets the newest of its major version."""
    text = f'x = "docker-image://python:3.13-slim@sha256:{OLD}"\n    image: postgres:17@sha256:{OLD}\n'
    asked: list[str] = []

    def digest(image: str) -> str:
        asked.append(image)
        return f"sha256:{NEW}"

    action = f"      - uses: actions/checkout@{'9' * 40} # v4.1.0\n"
    made = renew.renewed(text + action, digest, lambda _: COMMITS)
    assert made == text.replace(OLD, NEW) + f"      - uses: actions/checkout@{'b' * 40} # v4.10.1\n"
    assert asked == ["python:3.13-slim", "postgres:17"]


def test_every_digest_is_one_that_is_renewed() -> None:
    """No image and no action of the files is missed by `make renew`."""
    for name in renew.FILES:
        text = (ROOT / name).read_text()
        images, actions = len(renew.IMAGE.findall(text)), len(renew.ACTION.findall(text))
        assert text.count("@sha256:") == images, name
        assert text.count("uses: ") == actions, name
        assert images + actions, name
    base = set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert [
        name
        for name in base
        if f'"{name}" = "docker-image://{name}@sha256:' not in (ROOT / "docker-bake.hcl").read_text()
    ] == []
