"""The browser that the dashboard's tests drive: found, or installed. Run by `make browser`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def found() -> str | None:
    """The path of a browser of the Chromium family: the one named, the system's, or Playwright's own."""
    named = os.environ.get("RELAY_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if named is not None:
        return named
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return str(own) if own.exists() else None


def install() -> bool:
    """Installs one: the system's where that is Debian's and we may, else Playwright's own. Whether that worked."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)  # type: ignore[call-overload]
        ways = [["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]]
    else:
        ways = []
    ways.append([sys.executable, "-m", "playwright", "install", "chromium"])
    return any(subprocess.run(way, check=False, stdout=subprocess.DEVNULL).returncode == 0 for way in ways)


def main() -> None:
    """Says what is missing, and leaves it to the tests to skip (or, in CI, to fail)."""
    if found() is None:
        sys.stderr.write("Installing a browser for the dashboard's tests ...\n")
        if not install():
            sys.stderr.write("None could be installed: the tests that need one are skipped, but not in CI.\n")


if __name__ == "__main__":
    main()
