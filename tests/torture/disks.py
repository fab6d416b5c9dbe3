"""Disks so small that they can be filled."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FILLER = "filler"


def why_not() -> str | None:
    """Why no small disk is possible here; None if it is."""
    if os.geteuid() != 0:
        return "mounting a small disk needs root"
    return None


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system in memory, mounted at `folder` while the block runs."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Writes until the disk is full."""
    with (disk / _FILLER).open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4_096)


def make_room(disk: Path) -> None:
    """Deletes what `fill` wrote."""
    (disk / _FILLER).unlink()
