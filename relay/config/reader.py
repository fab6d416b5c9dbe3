"""Reading the configuration's text: a YAML file, its variables filled in, the environment laid over it.

`places` says where something stands and what may stand there, `yaml_values` makes data of YAML, `values` are what
people write: durations, URLs, keys.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from relay.config import yaml_values
from relay.config.source_map import (
    KeyPath,
    Problem,
    Source,
    SourceLocation,
    annotation_at,
    format_path,
    is_collection,
    known_keys,
    variables,
)
from relay.config.yaml_values import coerce, parse_scalar
from relay.errors import ConfigError
from relay.suggestions import did_you_mean

__all__ = ["MAX_BYTES", "KeyPath", "Problem", "Source", "format_path", "known_keys", "parse_scalar", "read_source"]

MAX_BYTES = 1024 * 1024
"""Bytes of a configuration file at the most."""


def read_source(path: Path | None, environ: Mapping[str, str], model: type[BaseModel]) -> Source:
    """Reads the file (None: none), fills in variables, lays the environment over it.

    Raises ConfigError where there is no text to speak of; what is wrong inside it is in `problems`.
    """
    source = Source()
    if path is not None:
        source.origins[()] = SourceLocation(str(path), 1)
        try:
            node = yaml_values.compose(_text_of(path))
        except yaml.YAMLError as error:
            at = SourceLocation(str(path), yaml_values.line_of(error))
            raise ConfigError(f"{at}: can't be read as YAML: {yaml_values.reason(error)}") from None
        if isinstance(node, yaml.MappingNode):
            source.data = yaml_values.YamlReader(source, model, str(path), environ).mapping(node, ())
        elif node is not None and not yaml_values.is_null(node):
            raise ConfigError(f"{path}:1: the configuration must be keys and values, such as `exec:`")
    _apply_environment(source, environ, model)
    return source


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}; start from config.example.yaml") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than 1 MiB; is this the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text; save it as UTF-8") from None


def _apply_environment(source: Source, environ: Mapping[str, str], model: type[BaseModel]) -> None:
    known = variables(model)
    for variable, text in sorted(environ.items()):
        if variable in known:
            _override(source, model, variable, known[variable], text)
        elif variable.startswith("RELAY_") and "__" in variable:
            source.problems.append(Problem((), _unknown_variable(variable, known), SourceLocation(variable)))


def _override(source: Source, model: type[BaseModel], variable: str, place: KeyPath, text: str) -> None:
    target: Any = source.data
    for section in place[:-1]:
        if target.get(section) is None:
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            return
    source.forget(place)
    source.origins[place] = SourceLocation(variable)
    if is_collection(annotation_at(model, place)):
        target[place[-1]] = _collection(source, model, variable, place, text)
    else:
        target[place[-1]] = coerce(model, place, text)


def _collection(source: Source, model: type[BaseModel], variable: str, place: KeyPath, text: str) -> Any:
    try:
        node = yaml_values.compose(text)
    except yaml.YAMLError as error:
        source.mark_invalid(place, f"must be a list or a mapping, written as YAML: {yaml_values.reason(error)}")
        return None
    return None if node is None else yaml_values.YamlReader(source, model, variable, None).value(node, place)


def _unknown_variable(variable: str, known: Mapping[str, KeyPath]) -> str:
    within = (name for name, place in known.items() if len(place) == 1 and variable.startswith(f"{name}__"))
    if whole := next(within, None):
        return f"there is no such key; set the whole list: {whole}='[...]'"
    return f"there is no such key{did_you_mean(variable.upper(), known) or '; config.example.yaml shows every key'}"
