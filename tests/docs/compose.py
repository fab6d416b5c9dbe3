"""`docker compose` for a machine without containers: what runs in one is a process here, with the same environment.

python -m tests.docs.compose run --rm -T relay keygen      (in a folder with compose.yaml, and perhaps .env)
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
OVER = "COMPOSE_OVER"
"""The variable that holds, as JSON, what a test lays over a service's environment: ports, the address of a stand-in."""


PROGRAM = "COMPOSE_PROGRAM"
"""The variable that holds, as JSON, the command line that runs the program of the image."""


def environment(service: str, folder: Path) -> dict[str, str]:
    """The variables that a service of the folder's compose.yaml has, beside those that the image sets."""
    dotenv = folder / ".env"
    known = dict(re.findall(r"^(\w+)=(.*)$", dotenv.read_text(), re.MULTILINE)) if dotenv.exists() else {}
    given = yaml.safe_load((folder / "compose.yaml").read_text())["services"][service]["environment"]
    filled = {
        name: known.get(name) if value is None else _with_variables(value, known) for name, value in given.items()
    }
    image = dict(re.findall(r"\b(RELAY_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    python = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    set_at_all = {name: value for name, value in filled.items() if value is not None}
    over: dict[str, str] = json.loads(os.environ.get(OVER, "{}"))
    return python | image | set_at_all | over


def _with_variables(value: str, known: dict[str, str]) -> str:
    """The value with each `${NAME:-default}` replaced."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: known.get(found[1]) or found[2], value)


def root_of(folder: Path) -> Path:
    """The container's root, which contains its /data."""
    (folder / "root/data").mkdir(parents=True, exist_ok=True)
    return folder / "root"


def main(verb: str, *words: str) -> int:
    """`build` does nothing; `run` and `exec` run to their ends."""
    if verb == "build":
        return 0
    rest, passed_on = list(words), dict[str, str]()
    while rest[0].startswith("-"):
        if rest.pop(0) == "-e":
            name = rest.pop(0)
            passed_on[name] = os.environ[name]
    service, *command = rest
    if verb == "exec":
        assert command.pop(0) == "relay", "the program of the image"
    inside = [word.removeprefix("/") if word.startswith("/data/") else word for word in command]
    known, root = environment(service, Path.cwd()) | passed_on, root_of(Path.cwd())
    program = json.loads(os.environ[PROGRAM])
    return subprocess.run([*program, *inside], env=known, cwd=root).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
