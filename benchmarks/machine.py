"""The machine that figures come from."""

import os
import sys
from pathlib import Path


def machine() -> str:
    """What the figures come from."""
    name = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "unknown")
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} cores ({name}), Linux {os.uname().release.partition('-')[0]}, Python {version}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
