"""A SQLite file that this user may not use: the error says whose it is, and what to type."""

import os
import subprocess
from pathlib import Path

import pytest

from relay.store.engine import file_access
from tests.forking import processes

STRANGER = 1000650000
"""A user without a name, as OpenShift chooses them."""
CODE = f"""
import os, sys
from pathlib import Path
from relay.errors import StoreError
from relay.store.engine import file_access
os.setgroups([]); os.setgid(0); os.setuid({STRANGER})
path = Path(sys.argv[1])
try:
    print(file_access.exists(path), file_access.writable(path), file_access.refusal(path, "no"))
except StoreError as error:
    print(error)
"""


def asked_as_stranger(path: Path) -> str:
    """What another user is told of the file."""
    for folder in path.parents[1:]:
        if not folder.stat().st_mode & 0o001:  # the other user has to reach the folder
            folder.chmod(0o755)
    command = [*processes.command("tests.forking.code"), CODE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "answer", "blocked"),
    [
        (0o700, 0o666, "", "folder"),
        (0o755, 0o666, "True False", "folder"),
        (0o777, 0o644, "True False", "folder/relay.db"),
        (0o755, None, "False False", "folder"),
        (0o770, 0o660, "True True", ""),
    ],
)
def test_the_owner_and_the_command_are_named(
    tmp_path: Path, folder_mode: int, file_mode: int | None, answer: str, blocked: str
) -> None:
    """A folder that can't be entered, one that can't be written, a file that can't be written; group root is enough."""
    folder = tmp_path / "folder"
    folder.mkdir()
    if file_mode is not None:
        (folder / "relay.db").touch()
        (folder / "relay.db").chmod(file_mode)
    folder.chmod(folder_mode)
    said = asked_as_stranger(folder / "relay.db")
    assert said.startswith(answer)
    advice = f"{tmp_path / blocked} belongs to user 0 (mode "
    assert (advice in said) == bool(blocked)
    assert (f"this is user {STRANGER}: as root, `chown {STRANGER} {tmp_path / blocked}`" in said) == bool(blocked)
    assert said.endswith("give storage.url a folder that this user may write to")


def test_another_problem_is_said_as_it_is(tmp_path: Path) -> None:
    """Nothing is made up if the permissions are right."""
    said = file_access.refusal(tmp_path / "relay.db", "Input/output error")
    assert said == (
        f"the store {tmp_path / 'relay.db'} can't be opened: Input/output error; "
        "give storage.url a folder that this user may write to"
    )
