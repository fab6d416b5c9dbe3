"""The machine that figures come from."""

import os
import sys
from pathlib import Path


def machine() -> str:
    """What the figures come from."""
    name = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "unknown")
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} cores ({name}), Linux {os.uname().release.partition('-')[0]}, Python {version}"


def memory(process: int, field: str) -> float:
    """MiB of a process, as the kernel counts them: `VmHWM` is what it had at the most, `RssAnon` what no file has."""
    return next(int(line.split()[1]) for line in _lines(f"/proc/{process}/status") if line.startswith(field)) / 1_024


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
