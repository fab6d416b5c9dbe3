"""The token of a relay without API keys, stored by `relay serve` for clients on the same machine.

One file for each port, in a folder that only its user can read.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from relay.egress import is_loopback

_NAME = "exec-relay"


def write(port: int, token: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Writes the token of the relay on this port. Raises OSError."""
    folder = _folder(environ)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(folder):
        raise PermissionError(f"{folder} belongs to another user, or others can read it")
    path = _path(folder, port)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return path


def remove(port: int, token: str, environ: Mapping[str, str] = os.environ) -> None:
    """Removes the token, unless another relay has written its own since."""
    path = _path(_folder(environ), port)
    with suppress(OSError):
        if path.read_text() == token:
            path.unlink()


def read(server: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The token of the relay at this URL; None if it is on another machine, or has written none."""
    parts = urlsplit(server)
    if not is_loopback(parts.hostname or ""):
        return None
    folder = _folder(environ)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return _path(folder, port).read_text().strip() or None if _is_private(folder) else None
    except (OSError, ValueError):
        return None


def _folder(environ: Mapping[str, str]) -> Path:
    if runtime_dir := environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime_dir) / _NAME
    return Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid()}"


def _path(folder: Path, port: int) -> Path:
    return folder / f"{port}.token"


def _is_private(folder: Path) -> bool:
    """Whether it is a folder of this user, closed to others."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
