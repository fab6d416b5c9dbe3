"""Packages of node for tests: installed as their lock file says, once."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "integrations/zapier", ROOT / "tests/javascript")
"""Every folder with a package.json."""


def installed(folder: Path) -> Path:
    """The folder, with what its lock file names in its node_modules.

    Where there is no node, the test that asks is skipped, and says so; not in CI, where it fails.
    """
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("npm is missing: what is written in JavaScript can't be tried")
        pytest.skip(f"npm is missing: the JavaScript of {folder.relative_to(ROOT)} is NOT tried")
    stamp = folder / "node_modules/.installed"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        ci = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(ci, cwd=folder, timeout=240, capture_output=True, text=True)
        assert done.returncode == 0, f"npm ci in {folder.relative_to(ROOT)}:\n{done.stderr}"
        stamp.write_text(wanted)
    return folder
