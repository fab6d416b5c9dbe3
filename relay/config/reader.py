"""Reads the configuration's text: a YAML file with its variables filled in, and the environment on top of it.

`source_map` records locations and knows the model's keys, `yaml_values` makes data of YAML, `environment` reads
variables, `parsers` reads single values: durations, URLs, keys.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from relay.config import environment, yaml_values
from relay.config.environment import MAX_BYTES
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

__all__ = ["MAX_BYTES", "KeyPath", "Problem", "Source", "format_path", "known_keys", "parse_scalar", "read_source"]


def read_source(path: Path | None, environ: Mapping[str, str], model: type[BaseModel]) -> Source:
    """Reads the file (None: no file), fills in its variables, and applies the environment.

    Raises ConfigError if the file can't be read as YAML. Problems of single keys are in `problems`.
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
    known_variables = variables(model)
    for variable in sorted(environ):
        name = variable.removesuffix(environment.FILE)
        if variable in known_variables or (name in known_variables and environ[variable]):
            set_from_variable(
                source, model, known_variables[variable if variable in known_variables else name], variable, environ
            )
        elif name not in known_variables and (
            text := environment.unknown_variable(variable, environ[variable], known_variables)
        ):
            source.problems.append(Problem((), text, SourceLocation(variable)))


def set_from_variable(
    source: Source, model: type[BaseModel], path: KeyPath, variable: str, environ: Mapping[str, str]
) -> None:
    """Sets a key to the value of a variable, or to the text of its file if the variable ends in `_FILE`."""
    target: Any = source.data
    for section in path[:-1]:
        if target.get(section) is None:
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            return
    source.forget(path)
    source.origins[path] = SourceLocation(variable)
    name = variable.removesuffix(environment.FILE)
    try:
        text = environment.read_variable(name, environ) if name != variable else environ[variable]
    except ValueError as error:
        target[path[-1]] = None
        source.mark_invalid(path, str(error))
        return
    if is_collection(annotation_at(model, path)):
        target[path[-1]] = _collection(source, model, variable, path, text or "")
    else:
        target[path[-1]] = coerce(model, path, text or "")


def _collection(source: Source, model: type[BaseModel], variable: str, path: KeyPath, text: str) -> Any:
    try:
        node = yaml_values.compose(text)
    except yaml.YAMLError as error:
        source.mark_invalid(path, f"must be a list or a mapping, written as YAML: {yaml_values.reason(error)}")
        return None
    return None if node is None else yaml_values.YamlReader(source, model, variable, None).value(node, path)
