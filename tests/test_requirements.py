"""What gets installed: the pins, their hashes, and that code, pyproject.toml and pins agree on what is needed."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.layers import statements

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(text) for text in texts] for name, texts in PYPROJECT["project"]["optional-dependencies"].items()
}


def named_in(file: str) -> list[Requirement]:
    """What a file of requirements names."""
    return [Requirement(line) for line in (ROOT / "requirements" / file).read_text().splitlines() if line[:1].isalpha()]


ASKED = {
    "build.txt": [Requirement(text) for text in PYPROJECT["build-system"]["requires"]],
    "runtime.txt": RUNTIME,
    "image.txt": RUNTIME + EXTRAS["postgres"] + EXTRAS["otel"],
    "security.txt": named_in("security.in"),
    "bench.txt": named_in("bench.in"),
    "proxies.txt": named_in("proxies.in"),
    "dev.txt": [one for some in (RUNTIME, *EXTRAS.values()) for one in some],
}
"""What each file of pins has to answer."""

PIN = re.compile(r"([a-z0-9-]+)(\[[a-z,-]+\])?==([^ ]+)(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n")
COMMENT = re.compile(r" *#(?!.*(?:://|(?<![\w.])/|\\)).*\n|\n")
"""A comment that holds no address and no path from a machine's root."""


def pins(name: str) -> dict[str, str]:
    """Name and version of everything that a file pins."""
    return {found[1]: found[3] for found in PIN.finditer(text_of(name))}


def text_of(name: str) -> str:
    """The text of a file of pins."""
    return (ROOT / "requirements" / name).read_text()


@pytest.mark.parametrize("name", ASKED)
def test_files_contain_only_hashed_pins(name: str) -> None:
    """No option, index, address or path is left in: only pins, each with its hashes, and comments."""
    text = text_of(name)
    assert COMMENT.sub("", PIN.sub("", text)) == ""
    assert pins(name)


def test_pins_are_made_with_hashes_and_without_addresses(tmp_path: Path) -> None:
    """`make lock` writes every file so: each of its commands asks for hashes, and for no index in what it writes."""
    noted = tmp_path / "noted"
    stand_in = tmp_path / "pip-compile"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {noted}\n')
    stand_in.chmod(0o755)
    environ = os.environ | {"RELAY_PIP_COMPILE": str(stand_in)}
    subprocess.run(["sh", str(ROOT / "requirements/lock.sh")], env=environ, check=True)
    commands = noted.read_text().splitlines()
    assert {f"requirements/{name}" for name in ASKED} == {word for one in commands for word in one.split()} & {
        f"requirements/{path.name}" for path in (ROOT / "requirements").glob("*.txt")
    }
    wanted = {"--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"}
    assert [one for one in commands if not wanted <= set(one.split())] == []


@pytest.mark.parametrize(
    "line",
    ["--index-url https://example.com/simple", "--find-links /srv/wheels", "click==8.2.0", "# via /srv/x", "./x"],
)
def test_other_lines_are_detected(line: str) -> None:
    """An option, a pin without hashes and a comment with a path are none of what a file may hold."""
    assert COMMENT.sub("", PIN.sub("", line + "\n")) != ""


@pytest.mark.parametrize("name", ASKED)
def test_pins_satisfy_the_requirements(name: str) -> None:
    """Everything that pyproject.toml asks for is pinned, to a version that it allows."""
    pinned = pins(name)
    for asked in ASKED[name]:
        assert asked.specifier.contains(pinned[canonicalize_name(asked.name)]), f"{asked}: run `make lock`"


@pytest.mark.parametrize("file", ["Dockerfile", "Makefile"])
def test_the_image_installs_nothing_else(file: str) -> None:
    """Image and virtual environment get what is pinned, by its hash, and the relay; the image gets wheels only."""
    text = (ROOT / file).read_text().replace("\\\n", " ")
    commands = re.findall(r"pip\b(?: --python \S+)? install .*?(?=&&|\n)", text)
    assert len(commands) >= 3
    for command in commands:
        if "--no-deps" in command:
            assert re.search(r"--no-deps.* (/wheels/\*\.whl|--editable \.)\s*$", command), command
            continue
        assert "--require-hashes -r requirements/" in re.sub(" +", " ", command), command
        assert file != "Dockerfile" or "--only-binary :all:" in command


def test_extras_are_pinned() -> None:
    """What is needed with an extra is pinned with it: pip 23.2, which Python 3.11 brings, takes it for no pin else."""
    extras = {found[1]: (found[2] or "").strip("[]").split(",") for found in PIN.finditer(text_of("dev.txt"))}
    for name in extras:
        for asked in map(Requirement, requires(name) or []):
            if asked.extras and (asked.marker is None or asked.marker.evaluate({"extra": ""})):
                assert asked.extras <= {*extras[canonicalize_name(asked.name)]}, (
                    f"{name} needs {asked}: run `make lock`"
                )


def test_pins_agree_across_files() -> None:
    """No package has one version here and another there: they are installed into one environment."""
    found = {(package, version) for name in ASKED for package, version in pins(name).items()}
    assert len(found) == len({package for package, _ in found})


@pytest.mark.parametrize("name", ASKED)
def test_pins_are_made_with_the_oldest_python(name: str) -> None:
    """Pinned with the oldest Python that the relay runs on, which needs what newer ones need, and some more."""
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert f"pip-compile with Python {oldest}\n" in (ROOT / "requirements" / name).read_text()


@pytest.mark.parametrize(
    ("folder", "asked"),
    [
        ("relay", RUNTIME + EXTRAS["otel"] + EXTRAS["postgres"] + EXTRAS["mcp"]),
        ("tests", ASKED["dev.txt"]),
        ("docs", ASKED["dev.txt"]),
        ("benchmarks", ASKED["dev.txt"] + ASKED["bench.txt"]),
        ("requirements", ASKED["dev.txt"]),
    ],
)
def test_every_import_is_a_declared_dependency(folder: str, asked: list[Requirement]) -> None:
    """Nothing is used that only happens to be there because something else needs it."""
    ours = {canonicalize_name(one.name) for one in asked}
    providers = _providers()
    own = {"relay", "tests", "docs", "benchmarks", "requirements"}
    for module in imports(ROOT / folder) - sys.stdlib_module_names - own:
        assert ours & {canonicalize_name(name) for name in providers.get(module, [module])}, (
            module
        )  # not everything asked for is installed


@cache
def _providers() -> Mapping[str, list[str]]:
    """By module, the installed packages that have it."""
    return packages_distributions()


def imports(folder: Path) -> set[str]:
    """The top-level names that the files of a folder import."""
    nodes = [node for path in folder.rglob("*.py") for node in statements(ast.parse(path.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.split(".")[0] for name in names}


def test_the_package_ships_every_file() -> None:
    """What is no Python file matches the package data of pyproject.toml, so that it is in the wheel and the image."""
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["*"]
    others = [path for path in (ROOT / "relay").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert [path for path in others if not any(fnmatch(path.name, pattern) for pattern in patterns)] == []
    assert others
