"""What tests need beyond Python: programs, and packages of node, installed as their lock file says, once."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "integrations/zapier", ROOT / "tests/javascript", ROOT / "tests/openapi", ROOT / "tests/bodies")
"""Every folder with a package.json that names dependencies."""

DEPENDENCY_FREE = (ROOT / "integrations/javascript",)
"""Every other folder with a package.json."""


def needs(program: str, what: str) -> None:
    """Where the program is missing the test that asks is skipped, and says what is not tried; in CI it fails."""
    if shutil.which(program) is None:
        lacks(program, what)


def lacks(program: str, what: str) -> None:
    """Skips the test that asks, and says why; in CI it fails."""
    said = f"{program} is missing: {what} is NOT tried"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


def installed(folder: Path) -> Path:
    """The folder, with what its lock file names in its node_modules. The test that asks needs npm."""
    needs("npm", f"the JavaScript of {folder.relative_to(ROOT)}")
    stamp = folder / "node_modules/.installed"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        ci = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(ci, cwd=folder, timeout=240, capture_output=True, text=True)
        assert done.returncode == 0, f"npm ci in {folder.relative_to(ROOT)}:\n{done.stderr}"
        stamp.write_text(wanted)
    return folder
