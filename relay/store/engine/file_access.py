"""Whether this user may use the SQLite file, and what to do if not."""

import os
from pathlib import Path

from relay.errors import StoreError


def exists(path: Path) -> bool:
    """Whether the file is there. Raises StoreError if this user may not look into its folder."""
    try:
        return path.exists()
    except PermissionError as error:
        raise StoreError(refusal(path, error.strerror or "no reason given")) from error


def refusal(path: Path, problem: str) -> str:
    """What to say if the file can't be used: whose the file or folder is that is in the way, and how to change that."""
    advice = "give storage.url a folder that this user may write to"
    if (blocked := _blocked(path.absolute())) is not None:
        status, user = blocked.stat(), os.geteuid()
        owner = f"{blocked} belongs to user {status.st_uid} (mode {status.st_mode & 0o777:o}), this is user {user}"
        advice = f"{owner}: as root, `chown {user} {blocked}`; or {advice}"
    return f"the store {path} can't be opened: {problem}; {advice}"


def writable(path: Path) -> bool:
    """Whether this user can write the file, or create it and SQLite's files beside it."""
    return _blocked(path.absolute()) is None


def _blocked(path: Path) -> Path | None:
    """The folder that may not be entered, or the file or the last folder that may not be written; None if neither."""
    last = None
    for one in [*reversed(path.parents), path]:
        if not os.path.lexists(one):
            break
        last = one
        if one.is_dir() and not os.access(one, os.X_OK):
            return one
    folder = path.parent if last == path else last
    places = [place for place in (folder, path if last == path else None) if place is not None]
    return next((place for place in places if not os.access(place, os.W_OK)), None)
