"""The configuration: what it accepts, and how it says what is wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from relay import config
from relay.config import Config, duration
from relay.config_text import names_at, plain
from relay.errors import ConfigError
from relay.model import DAY, HOUR, MINUTE, SECOND

KEY = "exec_live_" + "a" * 40
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problem(folder: Path, text: str | bytes, **environ: str) -> str:
    """What is said of a configuration that can't be used."""
    with pytest.raises(ConfigError) as refused:
        config.load(write(folder, text), environ)
    return str(refused.value).replace(str(folder) + "/", "")


def test_a_key_is_all_that_must_be_given() -> None:
    """With Exec's key alone, everything else has its default."""
    loaded = config.load(None, {"RELAY_EXEC__API_KEY": KEY})
    assert [space.name for space in loaded.workspaces] == ["default"]
    assert loaded.workspaces[0].api_key.get_secret_value() == KEY
    assert loaded.delivery.schedule[-1] == DAY
    assert len(loaded.delivery.schedule) == 11


def test_the_example_is_the_default_and_complete() -> None:
    """config.example.yaml loads, changes nothing, and names every key there is."""
    assert config.load(EXAMPLE, {"EXEC_API_KEY": KEY}) == config.from_mapping({"exec": {"api_key": KEY}})
    text = EXAMPLE.read_text()
    for name in every_key(Config):
        assert re.search(rf"(^|[\s#{{,-]){name}:", text), f"config.example.yaml does not show {name}"


@pytest.mark.parametrize("block", ["endpoints", "api_keys", "workspaces"])
def test_what_the_example_shows_in_comments_is_right_too(tmp_path: Path, block: str) -> None:
    """Each commented block loads when its comment signs are taken away."""
    lines, opened = EXAMPLE.read_text().splitlines(), []
    inside = False
    for line in lines:
        inside = line.lstrip().startswith(f"# {block}:") or (inside and line.lstrip().startswith("# "))
        if line.split(" ")[0] == f"{block}:" or line.strip().startswith(f"{block}: []"):
            continue
        opened.append(line.replace("# ", "", 1) if inside else line)
    text = "\n".join(opened).replace("sha256:…", "sha256:" + "0" * 64)
    if block == "workspaces":
        text = text.replace("  api_key: ${EXEC_API_KEY} ", "  # ", 1)
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), KEY) | {
        "SLACK_URL": "https://hooks.slack.com/services/T/B/X"
    }
    variables["SLACK_SIGNING_SECRET"] = "whsec_" + "QUFB" * 10
    assert len(getattr(config.load(write(tmp_path, text), variables), block, "..")) > 0


def every_key(model: type[BaseModel]) -> set[str]:
    found = set(model.model_fields)
    for name in model.model_fields:
        inner = names_at(model, (name,))
        found |= inner
    return found - {"hash"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exec:\n  api_key: k\npolling:\n  intervall: 5s\n", 'config.yaml:4: polling.intervall: unknown key; did you mean "interval"?'),
        ("exec:\n  api_key: k\npolling:\n  interval: 15\n", "config.yaml:4: polling.interval: say which unit"),
        ("exec:\n  api_key: k\npolling:\n  interval: soon\n", "config.yaml:4: polling.interval: write a duration"),
        ("exec:\n  api_key: k\ndelivery:\n  timeout: 3m\n", "config.yaml:4: delivery.timeout: must be 1s to 30s"),
        ("exec:\n  api_key: k\nserver:\n  port: eighty\n", "config.yaml:4: server.port:"),
        ("exec:\n  api_key: k\nserver:\n  port: 70000\n", "config.yaml:4: server.port:"),
        ("exec:\n  api_key: ${NOPE}\n", "config.yaml:2: exec.api_key: the variable NOPE is not set"),
        ("exec:\n  api_key: k\nexec:\n  timeout: 5s\n", "config.yaml:3: exec: stands here twice"),
        ("exec:\n  api_key: k\n  base_url: exec.com\n", "config.yaml:3: exec.base_url: must start with https://"),
        ("exec:\n  api_key: k\n  base_url: http://exec.com/\n", "must be https"),
        ("exec:\n  api_key: k\n  base_url: https://u:pw@exec.com/\n", "no user name or password"),
        ("exec:\n  api_key: k\nserver:\n  host: 0.0.0.0\n", "relay keygen"),
        ("exec:\n  api_key: k\nstorage:\n  url: mysql://x\n", "sqlite:/// or postgresql://"),
        ("exec:\n  api_key: k\nsecurity:\n  allow_networks: [banana]\n", "must be a network"),
        ("exec:\n  api_key: k\nsecurity:\n  api_keys: [short]\n", "at least 24 characters"),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', format: slak}\n", "format must be one of"),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'http://x.example/'}\n", "allow_http"),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', events: [job.done]}\n", "config.yaml:4: endpoints[0].events[0]"),
        ("exec:\n  api_key: k\nworkspaces:\n  - {name: a, api_key: b}\n", "not both"),
        ("polling:\n  tick: 1s\n", "exec.api_key is missing"),
        ("- a\n", "must be keys and values"),
        ("exec: [\n", "this is no YAML"),
        ("a: &x [1]\nb: *x\n", "config.yaml:2: YAML aliases"),
        ("[" * 500, "no YAML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * 1_100_000, "larger than 1 MiB"),
        ("exec: {api_key: k}\n" + "x: " + "{a: " * 30 + "1" + "}" * 30, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str | bytes, told: str) -> None:
    """A wrong key, type, unit, URL or variable is refused with file, line, key and what to write instead."""
    assert told in problem(tmp_path, text)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Nobody has to mend a configuration one error at a time."""
    found = problem(tmp_path, "exec:\n  api_key: k\npolling:\n  tick: 5\n  max_agee: 1h\nserver:\n  prt: 1\n")
    assert [line.split(": ")[0] for line in found.splitlines()] == ["config.yaml:4", "config.yaml:5", "config.yaml:7"]


def test_no_secret_is_echoed(tmp_path: Path) -> None:
    """Whatever is wrong, the values of secrets stay out of the error."""
    text = (
        "exec: {api_key: [hunter2]}\n"
        "security: {api_keys: [hunter2], secret_key: {hunter2: 1}}\n"
        "endpoints: [{name: a, url: 'hunter2', secret: hunter2}, {name: A!, url: 'https://x/hunter2', secret: hunter2}]\n"
    )
    found = problem(tmp_path, text)
    assert "hunter2" not in found.replace("secret_key.hunter2", "")
    loaded = config.from_mapping({"exec": {"api_key": "hunter2"}, "security": {"secret_key": "hunter2"}})
    assert "hunter2" not in repr(loaded)


def test_variables_are_filled_in_after_the_yaml_is_read(tmp_path: Path) -> None:
    """A variable is a value: it can't add keys, and one that stands alone is typed as YAML would type it."""
    text = "exec:\n  api_key: ${K}\n  base_url: https://${H:-a.example}/v1\nserver:\n  port: ${P}\n"
    loaded = config.load(write(tmp_path, text), {"K": "a: {b: c} # d", "P": "9001"})
    assert loaded.workspaces[0].api_key.get_secret_value() == "a: {b: c} # d"
    assert (loaded.workspaces[0].base_url, loaded.server.port) == ("https://a.example/v1", 9001)
    dollars = config.load(write(tmp_path, "exec:\n  api_key: a$$b${X:-}\n"), {})
    assert dollars.workspaces[0].api_key.get_secret_value() == "a$b"


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """RELAY_SECTION__KEY wins over the file, lists as YAML; unknown ones are refused by name."""
    path = write(tmp_path, "exec:\n  api_key: k\npolling:\n  interval: 15s\n")
    environ = {
        "RELAY_POLLING__INTERVAL": "7s",
        "RELAY_EXEC__BUDGET__PER_DAY": "500",
        "RELAY_SECURITY__ALLOW_NETWORKS": "[10.0.0.0/8]",
        "RELAY_API_KEY": "for the client",
        "RELAY_URL": "for the client",
    }
    loaded = config.load(path, environ)
    assert loaded.polling.interval == 7 * SECOND
    assert loaded.workspaces[0].budget.per_day == 500
    assert str(loaded.security.allow_networks[0]) == "10.0.0.0/8"
    with pytest.raises(ConfigError, match='RELAY_POLLING__INTERVALL.*did you mean "RELAY_POLLING__INTERVAL"'):
        config.load(path, {"RELAY_POLLING__INTERVALL": "7s"})
    with pytest.raises(ConfigError, match="RELAY_SERVER__PORT: server.port"):
        config.load(path, {"RELAY_SERVER__PORT": "x"})


def test_several_workspaces_inherit_what_is_shared() -> None:
    """Base URL and budget of `exec` hold for every workspace that does not say otherwise."""
    loaded = config.from_mapping(
        {
            "exec": {"base_url": "https://a.example/", "budget": {"share": 0.5}},
            "workspaces": [
                {"name": "a", "api_key": "k"},
                {"name": "b", "api_key": "k", "base_url": "https://b.example"},
            ],
        }
    )
    assert [space.base_url for space in loaded.workspaces] == ["https://a.example", "https://b.example"]
    assert {space.budget.share for space in loaded.workspaces} == {0.5}
    with pytest.raises(ConfigError, match="name of its own"):
        config.from_mapping({"workspaces": [{"name": "a", "api_key": "k"}] * 2})


def test_only_the_hash_of_an_api_key_is_kept() -> None:
    """A plain key, its hash and a mapping with either mean the same key."""
    key = "relay_" + "x" * 43
    made = config.from_mapping(
        {"exec": {"api_key": "k"}, "security": {"api_keys": [key, {"name": "ops", "key": key, "scopes": ["read"]}]}}
    )
    plain_key, named = made.security.api_keys
    assert plain_key.hash == named.hash
    assert (plain_key.name, named.name, named.scopes) == ("key-1", "ops", ("read",))
    assert key not in repr(made)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        (0, 0),
        ("500ms", 500),
        ("15s", 15_000),
        ("1h30m", 90 * MINUTE),
        ("30d", 30 * DAY),
        ("1.5h", 90 * MINUTE),
    ],
)
def test_durations_are_whole_milliseconds(text: Any, ms: int) -> None:
    """What people write becomes milliseconds."""
    assert duration(text) == ms


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(1, 999))
def test_a_duration_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int, ms: int) -> None:
    """Any combination of units adds up."""
    expected = days * DAY + hours * HOUR + minutes * MINUTE + seconds * SECOND + ms
    assert duration(f"{days}d{hours}h{minutes}m{seconds}s{ms}ms") == expected


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_any_file_is_a_configuration_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    """No text makes loading fail in any other way."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(raw)
    try:
        config.load(path, {"RELAY_EXEC__API_KEY": KEY})
    except ConfigError as error:
        assert str(error)


@given(st.text(max_size=50))
def test_a_variables_text_stays_a_scalar(text: str) -> None:
    """No text of a variable becomes a list or a mapping."""
    assert isinstance(plain(text), (str, int, float, bool))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A missing file or a folder in its place points to the example."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=r"config\.example\.yaml"):
            config.load(path, {})
