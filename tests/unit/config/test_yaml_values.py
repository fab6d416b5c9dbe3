"""Scalars of YAML: text that YAML 1.1 would change stays as it is written."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import config
from relay.errors import ConfigError

SURPRISES = """NO no No n N y Y yes YES on On ON off OFF 12:30 1:30:00 190:20 010 007 0o17 0x1F 0b11 1_000 1_0.5 +5 +1.5
.5 5. 1e3 1E3 6.0e23 1.10 0.10 -0 .inf -.inf .nan .NaN 2024-03-01 2024-03-01T10:00:00Z 12345678901234567890123 = <<
0.1234567890123456789 1.0.0 v1""".split()
"""Words that YAML 1.1, or a careless reader, turns into something else."""


def template(folder: Path, text: str) -> Any:
    path = folder / "config.yaml"
    path.write_text(
        "exec: {api_key: k}\nendpoints:\n  - name: a\n    url: https://x.example\n    template:\n      v: "
        + text
        + "\n"
    )
    [endpoint] = config.load(path, {}).endpoints
    assert endpoint.template is not None
    return endpoint.template["v"]


@pytest.mark.parametrize("text", SURPRISES)
def test_text_that_yaml_1_1_would_change_stays_text(tmp_path: Path, text: str) -> None:
    """A template sends it as written; so does a list or a mapping in it."""
    assert template(tmp_path, text) == text
    assert template(tmp_path, f"[{text}]") == [text]
    assert template(tmp_path, f"{{a: {text}}}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("false", False), ("True", True), ("null", None), ("~", None), ("", None),
        ("0", 0), ("15", 15), ("-7", -7), ("1.5", 1.5), ("-0.25", -0.25), ("-0.0", -0.0),
        ("'15'", "15"), ('"true"', "true"), ("'NO'", "NO"),
    ],
)  # fmt: skip
def test_plain_numbers_and_booleans_are_typed(tmp_path: Path, text: str, value: Any) -> None:
    """As JSON writes them; quotes make text."""
    assert template(tmp_path, text) == value
    assert type(template(tmp_path, text)) is type(value)


@given(st.text("0123456789.:_+-exXoabNOnoyYtf~", min_size=1, max_size=8))
def test_a_scalar_is_written_the_same_or_is_its_json_value(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Nothing else happens to any unquoted word."""
    try:
        value = template(tmp_path_factory.getbasetemp(), text)
    except ConfigError:
        return
    assert value in (text, None) or json.dumps(value) == text.lower()


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("server: {port", "010", "server.port: must be a whole number"),
        ("server: {port", "0x1F90", "server.port: must be a whole number"),
        ("exec: {api_key: k, budget: {per_day", "1_000", "exec.budget.per_day: must be a whole number"),
        ("security: {allow_http", "yes", "security.allow_http: must be true or false"),
        ("security: {allow_http", "on", "security.allow_http: must be true or false"),
        ("polling: {interval", "1:30", "polling.interval: write a duration"),
        ("polling: {tick: !!int 0x1F, interval", "5s", "polling.tick: can't be read"),
    ],
)
def test_a_key_with_a_value_of_yaml_1_1_is_refused_by_name(tmp_path: Path, key: str, text: str, problem: str) -> None:
    """In the file; a variable's text is read by the same rule."""
    path = tmp_path / "config.yaml"
    path.write_text(f"{key}: {text}{'}' * key.count('{')}\n")
    with pytest.raises(ConfigError) as error:
        config.load(path, {"EXEC_API_KEY": "k"})
    assert f"{path}:1: {problem}" in str(error.value)


@pytest.mark.parametrize("text", ["010", "0x1F", "1_000", "yes", "1e3", "8080.0"])
def test_a_variable_is_no_number_unless_it_is_plain(text: str) -> None:
    """`RELAY_SERVER__PORT=010` is not 8."""
    with pytest.raises(ConfigError, match=r"server\.port: must be a whole number"):
        config.load(None, {"EXEC_API_KEY": "k", "RELAY_SERVER__PORT": text})


def test_a_share_may_end_in_zero(tmp_path: Path) -> None:
    """A key that takes a number takes it in any decimal form."""
    path = tmp_path / "config.yaml"
    path.write_text("exec: {api_key: k, budget: {share: 0.80}}\n")
    assert config.load(path, {}).workspaces[0].budget.share == 0.8
    assert config.load(None, {"EXEC_API_KEY": "k", "RELAY_EXEC__BUDGET__SHARE": "0.50"}).exec.budget.share == 0.5
