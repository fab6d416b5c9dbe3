"""`python -m tests.fuzz [SECONDS] [NAME ...]`: every target in a process of its own, for so many seconds (`make fuzz`).

Each starts from its seeds and what earlier runs found worth keeping (build/fuzz/NAME). A finding is written to
build/fuzz/NAME-crash-...; `python -m tests.fuzz FILE NAME` runs it again.
"""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

FOUND = Path("build/fuzz")
LONGEST_RUN = 5
"""Seconds that one input may take before it counts as a hang."""


def main(arguments: list[str]) -> int:
    """Exit code 1 where a target found something."""
    if arguments[:1] == ["--one"]:
        return _one(arguments[1], arguments[2:])
    seconds, names = (arguments[0], arguments[1:]) if arguments else ("60", [])
    from tests.fuzz.all_targets import TARGETS

    failed = []
    for target in TARGETS:
        if names and target.name not in names:
            continue
        folder = FOUND / target.name
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target.seeds):
            (folder / f"seed-{number}").write_bytes(seed)
        given = [seconds] if Path(seconds).is_file() else [f"-max_total_time={seconds}", str(folder)]
        limits = [f"-timeout={LONGEST_RUN}", f"-max_len={target.longest}", f"-artifact_prefix={folder}-"]
        command = [sys.executable, "-m", "tests.fuzz", "--one", target.name, *limits, "-rss_limit_mb=4096", *given]
        if subprocess.run(command).returncode != 0:
            failed.append(target.name)
    return 1 if failed else 0


def _one(name: str, options: list[str]) -> int:
    atheris = import_module("atheris")  # not among what the tests need: `make fuzz` brings it

    with atheris.instrument_imports(include=["relay", "tests.fuzz"]):
        from tests.fuzz.all_targets import TARGETS
    [target] = [target for target in TARGETS if target.name == name]
    atheris.Setup([name, *options], target.once)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
