"""The token of a relay without API keys, as a file for commands of the same user."""

import os
import stat
from pathlib import Path

import pytest

from relay.client import calls, local_token

TOKEN = "relay_" + "t" * 43


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.mark.parametrize("server", ["http://127.0.0.1:8080", "http://localhost:8080/", "http://[::1]:8080"])
def test_a_command_finds_the_token_by_the_port(environ: dict[str, str], server: str) -> None:
    local_token.write(8080, TOKEN, environ)
    assert local_token.read(server, environ) == TOKEN


@pytest.mark.parametrize("server", ["http://127.0.0.1:8081", "https://relay.example.com:8080", "http://192.0.2.1:8080"])
def test_no_token_is_sent_elsewhere(environ: dict[str, str], server: str) -> None:
    """Neither to another machine nor to another port."""
    local_token.write(8080, TOKEN, environ)
    assert local_token.read(server, environ) is None


def test_only_its_user_can_read_the_token(environ: dict[str, str]) -> None:
    """Whatever the umask, and whatever was in the file's place before."""
    folder = Path(environ["XDG_RUNTIME_DIR"]) / "exec-relay"
    folder.mkdir(mode=0o700)
    (folder / "8080.token").symlink_to(folder / "elsewhere")
    before = os.umask(0)
    try:
        path = local_token.write(8080, TOKEN, environ)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert not (folder / "elsewhere").exists()


def test_a_folder_that_others_can_read_is_not_used(environ: dict[str, str]) -> None:
    """In a shared folder for temporary files anybody may have made it."""
    folder = Path(environ["XDG_RUNTIME_DIR"]) / "exec-relay"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "8080.token").write_text(TOKEN)
    assert local_token.read("http://127.0.0.1:8080", environ) is None
    with pytest.raises(PermissionError, match="belongs to another user"):
        local_token.write(8080, TOKEN, environ)


def test_a_relay_removes_only_its_own_token(environ: dict[str, str]) -> None:
    """One that stops late leaves the token of the next one on its port."""
    local_token.write(8080, TOKEN, environ)
    local_token.remove(8080, "relay_another", environ)
    assert local_token.read("http://127.0.0.1:8080", environ) == TOKEN
    local_token.remove(8080, TOKEN, environ)
    local_token.remove(8080, TOKEN, environ)
    assert local_token.read("http://127.0.0.1:8080", environ) is None


def test_a_client_without_a_key_sends_the_token(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """To a relay on this machine, unless a key is given."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RELAY_API_KEY", raising=False)
    local_token.write(8080, TOKEN)
    address = calls.address("http://127.0.0.1:8080", None)
    assert address.headers == {"authorization": f"Bearer {TOKEN}"}
    local_token.write(8080, "relay_of_a_restart")  # in the middle of a wait
    assert address.headers == {"authorization": "Bearer relay_of_a_restart"}
    assert calls.address("http://127.0.0.1:8080", "relay_given").headers == {"authorization": "Bearer relay_given"}
    assert calls.address("https://relay.example.com:8080", None).headers == {}
