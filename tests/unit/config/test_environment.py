"""Environment variables: secrets in files, names that almost match, and values that hold the shell's syntax."""

from pathlib import Path
from typing import Any

import pytest

from relay import config
from relay.config import Config
from relay.config.source_map import variables
from relay.errors import ConfigError

KEY = "exec_live_" + "aB3dE5fG7h" * 4
WITH_KEY = {"RELAY_EXEC__API_KEY": KEY}
SECRET = "hunter2" * 6
EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"


def problem(**environ: str) -> str:
    with pytest.raises(ConfigError) as error:
        config.load(None, environ)
    return str(error.value)


# --- names that almost match -----------------------------------------------------------------------------------

NESTED = sorted(name for name in variables(Config) if "__" in name)


@pytest.mark.parametrize("name", NESTED)
def test_one_underscore_for_two_is_refused_with_the_right_name(name: str) -> None:
    """Of every key, with any value, and of the file that holds the value."""
    single = name.replace("__", "_")
    for ending in ("", "_FILE"):
        report = problem(**WITH_KEY, **{single + ending: "5"})
        assert report == f'{single}{ending}: there is no such key; did you mean "{name}{ending}"?'


@pytest.mark.parametrize("name", ["relay_server__port", "Relay_Server__Port", "RELAY_server__PORT", "relay_endpoints"])
def test_small_letters_are_refused_with_the_right_name(name: str) -> None:
    """They would set nothing."""
    report = problem(**WITH_KEY, **{name: "5"})
    assert report == f'{name}: there is no such key; did you mean "{name.upper()}"?'


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EXEC_BASE_URL", "RELAY_EXEC__BASE_URL"),
        ("EXEC__API_KEY", "RELAY_EXEC__API_KEY"),
        ("EXEC_PROXY", "RELAY_EXEC__PROXY"),
        ("SERVER__PUBLIC_URL", "RELAY_SERVER__PUBLIC_URL"),
    ],
)
def test_a_key_without_its_prefix_is_named_in_a_warning(name: str, meant: str) -> None:
    """`EXEC_API_KEY` is the only one that works without."""
    [warning] = config.unused_variables(
        {**WITH_KEY, "EXEC_API_KEY": KEY, "SERVER_PORT": "1", name: "https://x.example"}
    )
    assert warning == f'{name}: not a variable of the relay, and not used; did you mean "{meant}"?'


LINKS = {
    "RELAY_PORT": "tcp://10.0.0.1:8080",
    "RELAY_SERVICE_HOST": "10.0.0.1",
    "RELAY_SERVICE_PORT": "8080",
    "RELAY_SERVICE_PORT_HTTP": "8080",
    "RELAY_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "RELAY_PORT_8080_TCP_PROTO": "tcp",
    "RELAY_PORT_8080_TCP_PORT": "8080",
    "RELAY_PORT_8080_TCP_ADDR": "10.0.0.1",
    "RELAY_SERVER_PORT": "tcp://10.0.0.2:8080",
    "RELAY_SERVER_SERVICE_HOST": "10.0.0.2",
    "RELAY_SERVER_PORT_53_UDP": "udp://10.0.0.2:53",
}
"""Kubernetes sets these in every pod beside services named `relay` and `relay-server`."""


def test_variables_of_kubernetes_are_ignored_with_one_warning() -> None:
    """They set nothing, even `RELAY_SERVER_PORT`, whose name is almost a key's."""
    loaded = config.load(None, {**WITH_KEY, **LINKS})
    assert loaded == config.load(None, WITH_KEY)
    [warning] = config.unused_variables({**WITH_KEY, **LINKS})
    assert "RELAY_PORT and 10 more: set by Kubernetes for a service, and not used" in warning


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RELAY_PORT", "RELAY_SERVER__PORT"),
        ("RELAY_SECRET_KEY", "RELAY_SECURITY__SECRET_KEY"),
        ("RELAY_PUBLIC_URL", "RELAY_SERVER__PUBLIC_URL"),
        ("RELAY_ENDPOINT", "RELAY_ENDPOINTS"),
        ("RELAY_DATABASE_URL", "RELAY_STORAGE__URL"),
        ("RELAY_LOG_LEVEL", "RELAY_LOGGING__LEVEL"),
        ("RELAY_SECRET_KEY_FILE", "RELAY_SECURITY__SECRET_KEY"),
    ],
)
def test_a_variable_that_sets_nothing_is_named_in_a_warning(name: str, meant: str) -> None:
    """Other programs may use such a name, so it is no error; the key that was probably meant is named."""
    [warning] = config.unused_variables({**WITH_KEY, name: "9000"})
    assert warning.startswith(f"{name}: not a variable of the relay, and not used")
    assert meant in warning
    assert config.load(None, {**WITH_KEY, name: "9000"}) == config.load(None, WITH_KEY)


def test_variables_that_are_used_have_no_warning() -> None:
    """Those of the configuration, of the commands, with and without `_FILE`, and those of other programs."""
    names = [*variables(Config), "RELAY_CONFIG", "RELAY_URL", "RELAY_API_KEY", "RELAY_CALLBACK_URL"]
    environ = dict.fromkeys([*names, *(f"{name}_FILE" for name in names), "EXEC_API_KEY", "RELAYED", "PATH"], "x")
    assert config.unused_variables(environ) == []


# --- Exec's key and files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["EXEC_API_KEY", "RELAY_EXEC__API_KEY"])
@pytest.mark.parametrize("in_file", [False, True])
def test_execs_key_needs_no_configuration_file(tmp_path: Path, name: str, in_file: bool) -> None:
    """Both names set it, directly and from a file, whose line break at the end does not count."""
    path = tmp_path / "key"
    path.write_bytes(f"\ufeff{KEY}\r\n".encode())
    loaded = config.load(None, {f"{name}_FILE": str(path)} if in_file else {name: KEY})
    assert [space.api_key.get_secret_value() for space in loaded.workspaces] == [KEY]


def test_exec_api_key_does_not_replace_another_setting(tmp_path: Path) -> None:
    """The file, the relay's own variable and workspaces come first."""
    path = tmp_path / "config.yaml"
    path.write_text("exec: {api_key: mine}\n")
    assert config.load(path, {"EXEC_API_KEY": KEY}).workspaces[0].api_key.get_secret_value() == "mine"
    both = {"EXEC_API_KEY": "other", "RELAY_EXEC__API_KEY": KEY}
    assert config.load(None, both).workspaces[0].api_key.get_secret_value() == KEY
    path.write_text("workspaces: [{name: a, api_key: mine}]\n")
    assert [space.name for space in config.load(path, {"EXEC_API_KEY": KEY}).workspaces] == ["a"]
    path.write_text("exec:\n  api_key:\nworkspaces:\n")
    assert config.load(path, {"EXEC_API_KEY": KEY}).workspaces[0].api_key.get_secret_value() == KEY


def test_every_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    """Single secrets as they are, lists as YAML; `${NAME}` in the configuration file reads `NAME_FILE` too."""
    written = {
        "RELAY_SECURITY__SECRET_KEY": "s" * 32,
        "RELAY_SECURITY__OLD_SECRET_KEYS": f"[{'o' * 32}]",
        "RELAY_SECURITY__API_KEYS": "- {name: ops, key: relay_" + "k" * 40 + "}\n",
        "RELAY_STORAGE__URL": "postgresql://relay:p4ss@db/relay",
        "RELAY_EXEC__PROXY": "http://user:pw@proxy.example:3128",
        "RELAY_ENDPOINTS": "- name: a\n  url: https://x.example/\n",
        "EXEC_API_KEY": KEY,
    }
    environ = {}
    for name, text in written.items():
        (tmp_path / name).write_text(text + "\n")
        environ[f"{name}_FILE"] = str(tmp_path / name)
    loaded = config.load(EXAMPLE, environ)
    assert loaded.workspaces[0].api_key.get_secret_value() == KEY
    assert loaded.security.secret_key is not None
    assert loaded.security.secret_key.get_secret_value() == "s" * 32
    assert [key.get_secret_value() for key in loaded.security.old_secret_keys] == ["o" * 32]
    assert [key.name for key in loaded.security.api_keys] == ["ops"]
    assert loaded.storage.url == "postgresql://relay:p4ss@db/relay"
    assert loaded.exec.proxy is not None
    assert loaded.exec.proxy.get_secret_value() == "http://user:pw@proxy.example:3128"
    assert [endpoint.name for endpoint in loaded.endpoints] == ["a"]
    assert "p4ss" not in repr(loaded)
    assert "user:pw" not in repr(loaded)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "can't be read: No such file or directory"),
        (b"", "is empty"),
        (b"\r\n", "is empty"),
        (b"\xff\xfehunter2", "is not UTF-8 text"),
        (b"hunter2" * 200_000, "is larger than 1 MiB"),
        (b"hunter2\nhunter2", "line breaks"),
        (b'"hunter2"', "in quotes"),
    ],
)
def test_a_file_that_holds_no_usable_secret_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """By its variable and key; its text is not repeated."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    for name in ("RELAY_EXEC__API_KEY_FILE", "EXEC_API_KEY_FILE"):
        report = problem(**{name: str(path)})
        assert report.startswith(f"{name}: exec.api_key: ")
        assert reason in report
        assert report.count("\n") == 0
        assert "hunter2" not in report


def test_a_value_and_a_file_for_the_same_key_are_refused(tmp_path: Path) -> None:
    """Which of the two is meant is not guessed. An empty `_FILE` counts as not set."""
    (tmp_path / "key").write_text(KEY)
    report = problem(RELAY_EXEC__API_KEY=KEY, RELAY_EXEC__API_KEY_FILE=str(tmp_path / "key"))
    assert "set RELAY_EXEC__API_KEY or RELAY_EXEC__API_KEY_FILE, not both" in report
    assert config.load(None, {**WITH_KEY, "RELAY_EXEC__API_KEY_FILE": ""}) == config.load(None, WITH_KEY)


# --- values with the shell's syntax ----------------------------------------------------------------------------


@pytest.mark.parametrize("quotes", ['""', "''", "``", "\u201c\u201d", "\u2018\u2019"])
@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("RELAY_EXEC__API_KEY", KEY, "exec.api_key"),
        ("EXEC_API_KEY", KEY, "exec.api_key"),
        ("RELAY_SECURITY__SECRET_KEY", SECRET, "security.secret_key"),
        ("RELAY_STORAGE__URL", f"postgresql://relay:{SECRET}@db/relay", "storage.url"),
        ("RELAY_EXEC__PROXY", "http://proxy:3128", "exec.proxy"),
        ("RELAY_SERVER__PUBLIC_URL", "https://relay.example.com", "server.public_url"),
        ("RELAY_SERVER__HOST", "127.0.0.1", "server.host"),
    ],
)
def test_a_value_in_quotes_is_refused_with_that_reason(quotes: str, name: str, value: str, path: str) -> None:
    """`docker --env-file` keeps the quotes, and Exec would refuse such a key without saying why."""
    environ = ({} if "API_KEY" in name else WITH_KEY) | {name: quotes[0] + value + quotes[1]}
    report = problem(**environ)
    assert report == f"{name}: {path}: is in quotes, which are part of the value here; write it without them"


@pytest.mark.parametrize("quotes", ['""', "''"])
def test_secrets_in_lists_are_refused_in_quotes_too(quotes: str) -> None:
    """Keys, URLs and signing secrets of list entries."""
    quoted = quotes[0] + SECRET + quotes[1]
    endpoint = {"name": "a", "url": quoted, "secret": quoted}
    data: dict[str, Any] = {
        "workspaces": [{"name": "a", "api_key": quoted}],
        "security": {"api_keys": [quoted, {"key": quoted}], "old_secret_keys": [quoted]},
        "endpoints": [endpoint],
    }
    with pytest.raises(ConfigError) as error:
        config.from_mapping(data)
    assert str(error.value).count("is in quotes") == 6
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (SECRET + " ", "begins or ends with a space"),
        (SECRET + "\r", "line breaks"),
        ("${SECRET_FROM_THE_OUTSIDE_OF_IT_ALL}", "the name of a variable"),
        ("$SECRET_FROM_THE_OUTSIDE_OF_IT_ALL_", "the name of a variable"),
    ],
)
def test_a_secret_with_the_shells_syntax_is_refused(value: str, reason: str) -> None:
    """Spaces at an end, line ends of Windows, and variables that nothing filled in."""
    report = problem(**WITH_KEY, RELAY_SECURITY__SECRET_KEY=value)
    assert report.startswith("RELAY_SECURITY__SECRET_KEY: security.secret_key: ")
    assert reason in report


@pytest.mark.parametrize(
    "written", ['"{}', "{}'", "{};", "EXEC_API_KEY={}", "Bearer {}", "{} # production", "{}\\n", "${{{}", "export {}"]
)
def test_an_exec_key_with_anything_else_in_its_value_is_refused(written: str) -> None:
    """What a shell, an env file or a copied line leaves in it would be sent to Exec, and refused there."""
    report = problem(EXEC_API_KEY=written.format(KEY))
    assert report.startswith("EXEC_API_KEY: exec.api_key: must be the API key as Exec shows it")
    assert KEY not in report


def test_numbers_of_optional_keys_are_read() -> None:
    """Keys that may be null are numbers all the same."""
    loaded = config.load(
        None, {**WITH_KEY, "RELAY_DELIVERY__PER_ENDPOINT": "3", "RELAY_SECURITY__REQUESTS_PER_MINUTE": "77"}
    )
    assert (loaded.delivery.per_endpoint, loaded.security.requests_per_minute) == (3, 77)


@pytest.mark.parametrize("url", ["postgres://u:p@db/relay", "postgresql://u:p@db/relay"])
def test_a_postgres_url_of_a_hosting_service_is_taken(url: str) -> None:
    """Heroku, Fly and Render write `postgres://`."""
    assert config.load(None, {**WITH_KEY, "RELAY_STORAGE__URL": url}).storage.url == "postgresql://u:p@db/relay"


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example.com:3128",
        "http://proxy.example.com",
        "socks5://proxy:1080",
        "http://proxy:99999",
        "http://proxy:3128/path",
        f"ftp://u:{SECRET}@proxy:1",
    ],
)
def test_a_proxy_is_an_http_url_with_a_port(url: str) -> None:
    """Anything else is refused without repeating it."""
    report = problem(**WITH_KEY, RELAY_EXEC__PROXY=url)
    assert report.startswith("RELAY_EXEC__PROXY: exec.proxy: must be the URL of an HTTP proxy with its port")
    assert "hunter2" not in report


@pytest.mark.parametrize(
    "address",
    [
        "db:port",
        "db:99999",
        "db:0",
        "[::1",
        "db:1,db2:port",
        "[::1]:1,db",
        "u:hunter2@[::1",
        "u:hunter2@db:port",
        "u:hunter2@x@db",
    ],
)
def test_a_store_url_with_a_broken_address_is_refused_by_name(address: str) -> None:
    """Not later, by a library, and without the password."""
    report = problem(**WITH_KEY, RELAY_STORAGE__URL=f"postgresql://{address}/relay")
    assert "storage.url: has a host or a port that can't be read" in report
    assert "hunter2" not in report


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("postgresql://u:p@one:5432,two:5433/relay", "postgresql://u:p@/relay?host=one:5432&host=two:5433"),
        ("postgres://one,two/relay?sslmode=require", "postgresql:///relay?host=one&host=two&sslmode=require"),
        ("postgresql://u:p,q%40@one,two:5433", "postgresql://u:p,q%40@/?host=one&host=two:5433"),
    ],
)
def test_a_store_url_may_name_several_hosts(url: str, read: str) -> None:
    """As libpq and the operators of PostgreSQL on Kubernetes write them."""
    assert config.load(None, {**WITH_KEY, "RELAY_STORAGE__URL": url}).storage.url == read


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///relay?host=/var/run/postgresql",
        "postgresql://db/relay",
        "postgresql://u:p/a#s?s@db:5432/relay",
        "postgresql://u:p@[::1]:5432/relay?sslmode=require",
        "postgresql+psycopg://u@db.example.com/relay",
    ],
)
def test_a_store_url_may_use_sockets_ipv6_and_any_password(url: str) -> None:
    """As the driver reads it."""
    assert config.load(None, {**WITH_KEY, "RELAY_STORAGE__URL": url}).storage.url == url
