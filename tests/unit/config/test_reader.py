"""How the configuration's text is read: YAML, variables in it, and the environment over it."""

import os
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from relay import config
from relay.config import Config
from relay.config.reader import known_keys, parse_scalar
from relay.config.source_map import variables
from relay.errors import ConfigError
from relay.model import SECOND

KEY = "exec_live_" + "a" * 40
WITH_KEY = {"RELAY_EXEC__API_KEY": KEY}


def load(folder: Path, text: str | bytes, **environ: str) -> Config:
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(path, environ)


def problem(folder: Path, text: str | bytes, **environ: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(folder, text, **environ)
    return str(refused.value).replace(str(folder) + "/", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exec: {}\nexec:\n  timeout: 5s\n", "config.yaml:2: exec: stands here twice, first at config.yaml:1"),
        ("- a\n", "config.yaml:1: the configuration must be keys and values"),
        ("\n\nexec: [\n", "config.yaml:4: can't be read as YAML"),
        ("a: 1\n---\nb: 1\n", "config.yaml:2: can't be read as YAML"),
        ("a: &x [1]\nb: *x\n", "config.yaml:1: can't be read as YAML: YAML aliases"),
        ("a: 1\nb: *x\n", "config.yaml:2: can't be read as YAML: YAML aliases"),
        ("[" * 500, "config.yaml:1: can't be read as YAML: nested too deeply"),
        ("x:\n  " + "{a: " * 30 + "1" + "}" * 30, "config.yaml:2: can't be read as YAML: nested too deeply"),
        ("x: [" + "1," * 21_000 + "]", "config.yaml:1: can't be read as YAML: holds more than 20,000 values"),
        ("a: 1\nb: \x01\n", "config.yaml:2: can't be read as YAML: holds a character"),
        ("polling:\n  ? [a]\n  : 1\n", "config.yaml:2: polling.…: a key must be a plain word"),
        ("polling: {tick: !python/name:os.system x}\n", "config.yaml:1: polling.tick: can't be read"),
        ("polling: {tick: !!int x}\n", "config.yaml:1: polling.tick: can't be read"),
        (b"a: 1\nb: \xff\xfe", "config.yaml:2: is not UTF-8 text"),
        ("exec: {}".encode("utf-16"), "config.yaml:1: is not UTF-8 text"),
        (b"#" * 1_100_000, "config.yaml: larger than 1 MiB"),
    ],
)
def test_a_file_that_is_not_yaml_is_refused_with_its_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    """Broken, hostile or unrelated files, quickly."""
    assert expected in problem(tmp_path, text, **WITH_KEY)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A missing file or a folder in its place points to the example."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=r"can't be read: .*config\.example\.yaml"):
            config.load(path, {})


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "polling:\nendpoints:\nsecurity:\n  api_keys:\n", "\ufeffpolling: {}\n"]
)
def test_empty_sections_have_their_defaults(tmp_path: Path, text: str) -> None:
    """A file, section or list with everything commented out; a byte order mark is ignored."""
    assert load(tmp_path, text, **WITH_KEY) == config.load(None, WITH_KEY)


def test_a_report_has_at_most_fifty_problems(tmp_path: Path) -> None:
    """A file of some other kind does not fill the screen."""
    lines = problem(tmp_path, "".join(f"key{number}: 1\n" for number in range(300)), **WITH_KEY).splitlines()
    assert (len(lines), lines[-1]) == (51, "... and 250 more")


# --- variables -------------------------------------------------------------------------------------------------


def test_variables_are_filled_in_after_the_yaml_is_read(tmp_path: Path) -> None:
    """A variable is a value: it adds no keys. If it stands alone, it has the type of its key."""
    text = (
        "exec:\n  api_key: ${K}\n  base_url: https://${HOST:-a.example}/${V:-v1}\n"
        "server:\n  port: ${PORT}\n  public_url: ${NONE:-}\n"
        "security:\n  secret_key: ${S}\n  allow_http: ${YES:-true}\n  allow_networks: ['${NET}']\n"
        "endpoints: [{name: a, url: 'https://x.example', headers: {x: '$$$${a} $5 ${NONE:-}'}}]\n"
    )
    environ = {"K": "123456", "PORT": "9001", "S": "a: {b: c} # d" + "e" * 32, "NET": "10.0.0.0/8"}
    loaded = load(tmp_path, text, **environ)
    [space] = loaded.workspaces
    assert (space.api_key.get_secret_value(), space.base_url) == ("123456", "https://a.example/v1")
    assert (loaded.server.port, loaded.server.public_url) == (9001, None)
    assert loaded.security.secret_key is not None
    assert loaded.security.secret_key.get_secret_value() == "a: {b: c} # d" + "e" * 32
    assert loaded.security.allow_http is True
    assert str(loaded.security.allow_networks[0]) == "10.0.0.0/8"
    assert loaded.endpoints[0].headers == {"x": "$${a} $5 "}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${NOPE}", "config.yaml:2: polling.tick: the variable NOPE is not set, or empty; set it, or write"),
        ("1${NOPE}s", "config.yaml:2: polling.tick: the variable NOPE is not set"),
        ("${EMPTY}", "config.yaml:2: polling.tick: the variable EMPTY is not set"),
        ("${NOPE-1s}", "config.yaml:2: polling.tick: write a variable as ${NAME} or ${NAME:-default}"),
        ("${NOPE", "config.yaml:2: polling.tick: write a variable as ${NAME}"),
        ("${5:-1s}", "config.yaml:2: polling.tick: write a variable as ${NAME}"),
    ],
)  # fmt: skip
def test_a_missing_variable_is_reported_once(tmp_path: Path, value: str, expected: str) -> None:
    """With file, line, key and variable. The missing value is not a second problem."""
    found = problem(tmp_path, f'polling:\n  tick: "{value}"\n', **WITH_KEY, EMPTY="")
    assert found.startswith(expected)
    assert found.count("\n") == 0


def test_a_missing_variable_of_execs_key_is_reported_once(tmp_path: Path) -> None:
    """The missing key is not a second problem."""
    assert problem(tmp_path, "exec:\n  api_key: ${K}\n").count("\n") == 0


@given(st.text(max_size=50))
def test_a_variables_text_stays_a_scalar(text: str) -> None:
    """No text of a variable becomes a list or a mapping."""
    assert isinstance(parse_scalar(text), (str, int, float, bool))


# --- the environment -------------------------------------------------------------------------------------------


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """RELAY_SECTION__KEY wins over the file, lists and mappings as YAML; variables of the commands are ignored."""
    text = "exec:\n  api_key: ${NOPE}\n  budget: {per_day: 1, share: 0.5}\npolling:\n  interval: 15s\nserver:\n"
    loaded = load(
        tmp_path,
        text,
        RELAY_EXEC__API_KEY="123",
        RELAY_EXEC__BUDGET__PER_DAY="500",
        RELAY_POLLING__INTERVAL="7s",
        RELAY_SERVER__PORT="9000",
        RELAY_SERVER__PUBLIC_URL="",
        RELAY_DELIVERY__SCHEDULE="[0s, 1m]",
        RELAY_SECURITY__API_KEYS="[relay_xxxxxxxxxxxxxxxxxxxxxxxx]",
        RELAY_SECURITY__ALLOW_NETWORKS="[10.0.0.0/8]",
        RELAY_SECURITY__SECRET_KEY="{a$$b" + "c" * 32,
        RELAY_ENDPOINTS="[{name: a, url: 'https://x.example/${NOPE}'}]",
        RELAY_API_KEY="for the client",
        RELAY_URL="for the client",
        RELAYED__TO="somebody else's",
    )
    [space] = loaded.workspaces
    assert space.api_key.get_secret_value() == "123"
    assert (space.budget.per_day, space.budget.share) == (500, 0.5)
    assert (loaded.polling.interval, loaded.server.port, loaded.server.public_url) == (7 * SECOND, 9000, None)
    assert loaded.delivery.schedule == (0, 60 * SECOND)
    assert [key.name for key in loaded.security.api_keys] == ["key-1"]
    assert str(loaded.security.allow_networks[0]) == "10.0.0.0/8"
    assert loaded.security.secret_key is not None
    assert loaded.security.secret_key.get_secret_value() == "{a$$b" + "c" * 32
    assert loaded.endpoints[0].url.get_secret_value() == "https://x.example/${NOPE}"


def test_a_whole_list_is_set_by_one_variable() -> None:
    """Several workspaces need no file."""
    loaded = config.load(None, {"RELAY_WORKSPACES": "[{name: a, api_key: k}, {name: b, api_key: l}]"})
    assert [space.name for space in loaded.workspaces] == ["a", "b"]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RELAY_POLLING__INTERVALL", "7s", 'such key; did you mean "RELAY_POLLING__INTERVAL"?'),
        ("RELAY_POLING__TICK", "7s", 'RELAY_POLING__TICK: there is no such key; did you mean "RELAY_POLLING__TICK"?'),
        ("RELAY_polling__tick", "7s", 'RELAY_polling__tick: there is no such key; did you mean "RELAY_POLLING__TICK"?'),
        ("RELAY_ZZZ__QQQ", "7s", "RELAY_ZZZ__QQQ: there is no such key; config.example.yaml shows every key"),
        ("RELAY_EXEC__", "7s", "RELAY_EXEC__: there is no such key"),
        ("RELAY_ENDPOINTS__0__URL", "x", "no such key; set the whole list: RELAY_ENDPOINTS='[...]'"),
        ("RELAY_SERVER__PORT", "x", "RELAY_SERVER__PORT: server.port: must be a whole number, 0 to 65,535"),
        ("RELAY_SERVER__PORT", "", "RELAY_SERVER__PORT: server.port: has no value"),
        ("RELAY_POLLING__TICK", "1", "RELAY_POLLING__TICK: polling.tick: say which unit"),
        ("RELAY_DELIVERY__SCHEDULE", "5s", "RELAY_DELIVERY__SCHEDULE: delivery.schedule: must be a list"),
        ("RELAY_DELIVERY__SCHEDULE", "[0s, 5]", "RELAY_DELIVERY__SCHEDULE: delivery.schedule[1]: say which unit"),
        ("RELAY_DELIVERY__SCHEDULE", "[0s", "delivery.schedule: must be a list or a mapping, written as YAML"),
        ("RELAY_EXEC__BUDGET", "{share: 2}", "RELAY_EXEC__BUDGET: exec.budget.share: must be a number above 0"),
        ("RELAY_EXEC__BUDGET", "{share: 1, share: 1}", "RELAY_EXEC__BUDGET: exec.budget.share: stands here twice"),
        ("RELAY_SECURITY__API_KEYS", "[short]", "RELAY_SECURITY__API_KEYS: security.api_keys[0]: must have at"),
        ("RELAY_SERVER__HOST", "a b", "RELAY_SERVER__HOST: server.host: must be a host name or an address alone"),
    ],
)  # fmt: skip
def test_a_problem_of_a_variable_names_the_variable(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    """And not a line of the file."""
    text = "security:\n  api_keys:\n"
    found = problem(tmp_path, text, **WITH_KEY, **{variable: value})
    assert expected in found
    assert found.count("\n") == 0


def test_every_key_has_its_variable() -> None:
    """Each key of each section can be set in the environment; what is in a list, with the whole list."""
    expected = {"RELAY_WORKSPACES", "RELAY_ENDPOINTS"}
    for section in set(Config.model_fields) - {"workspaces", "endpoints"}:
        expected |= {f"RELAY_{section}__{key}".upper() for key in known_keys(Config, (section,))}
    for section, part in (("exec", "budget"), ("storage", "retention_of")):
        expected |= {f"RELAY_{section}__{part}__{key}".upper() for key in known_keys(Config, (section, part))}
    assert set(variables(Config)) == expected


# --- anything at all -------------------------------------------------------------------------------------------


@given(st.text(max_size=300) | st.binary(max_size=300) | st.text("{}[]:-,\"'&*!|>%@#?$ \n\tabexec", max_size=80))
def test_any_file_is_a_configuration_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    """No text makes loading fail in any other way."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    try:
        config.load(path, WITH_KEY)
    except ConfigError as error:
        assert str(error).startswith(str(path))


@given(st.sampled_from(sorted(variables(Config))), st.binary(max_size=60))
def test_any_variable_is_a_value_or_a_clear_error(variable: str, value: bytes) -> None:
    """No value of a variable makes loading fail in any other way; bytes that are no text come as Python gives them."""
    try:
        config.load(None, {**WITH_KEY, variable: os.fsdecode(value)})
    except ConfigError as error:
        assert str(error)


_TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(sorted(Config.model_fields)), _TREES, min_size=1))
def test_any_yaml_is_a_configuration_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    """Nor does anything that YAML can say, in any section; each line of the error begins with its place."""
    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    try:
        config.load(path, {})
    except ConfigError as error:
        assert all(line.startswith((str(path), "... and ")) for line in str(error).splitlines())


def test_an_unknown_time_zone_is_refused_with_a_near_name() -> None:
    """At the start, with the key's name; zones are found on a system that has none of its own."""
    with pytest.raises(
        ConfigError, match='server.time_zone: names no time zone; did you mean "Europe/Berlin"'
    ) as error:
        config.load(None, {**WITH_KEY, "RELAY_SERVER__TIME_ZONE": "Europe/Berln"})
    assert "RELAY_SERVER__TIME_ZONE" in str(error.value)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([])
    try:
        zoneinfo.ZoneInfo.clear_cache()
        found = config.load(None, {**WITH_KEY, "RELAY_SERVER__TIME_ZONE": "US/Central"})
    finally:
        zoneinfo.reset_tzpath(before)
    assert found.server.time_zone == "US/Central"
