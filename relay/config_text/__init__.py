"""Reading the configuration's text: a YAML file, its variables filled in, the environment laid over it.

`places` says where something stands and what may stand there, `nodes` makes data of YAML, `values` are what people
write: durations, URLs, keys.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from relay.config_text import nodes
from relay.config_text.nodes import plain, typed_for
from relay.config_text.places import (
    Origin,
    Place,
    Problem,
    Source,
    annotation_at,
    dotted,
    is_collection,
    names_at,
    variables,
)
from relay.errors import ConfigError
from relay.nearest import closest

__all__ = ["LARGEST", "Place", "Problem", "Source", "dotted", "names_at", "plain", "read"]

LARGEST = 1024 * 1024
"""Bytes of a configuration file at the most."""


def read(path: Path | None, environ: Mapping[str, str], model: type[BaseModel]) -> Source:
    """Reads the file (None: none), fills in variables, lays the environment over it.

    Raises ConfigError where there is no text to speak of; what is wrong inside it is in `problems`.
    """
    source = Source()
    if path is not None:
        source.origins[()] = Origin(str(path), 1)
        try:
            node = nodes.compose(_text_of(path))
        except yaml.YAMLError as error:
            at = Origin(str(path), nodes.line_of(error))
            raise ConfigError(f"{at}: can't be read as YAML: {nodes.reason(error)}") from None
        if isinstance(node, yaml.MappingNode):
            source.data = nodes.Builder(source, model, str(path), environ).mapping(node, ())
        elif node is not None and not nodes.is_null(node):
            raise ConfigError(f"{path}:1: the configuration must be keys and values, such as `exec:`")
    _lay_over(source, environ, model)
    return source


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}; start from config.example.yaml") from None
    if len(content) > LARGEST:
        raise ConfigError(f"{path}: larger than 1 MiB; is this the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text; save it as UTF-8") from None


def _lay_over(source: Source, environ: Mapping[str, str], model: type[BaseModel]) -> None:
    known = variables(model)
    for variable, text in sorted(environ.items()):
        if variable in known:
            _override(source, model, variable, known[variable], text)
        elif variable.startswith("RELAY_") and "__" in variable:
            source.problems.append(Problem((), _no_such(variable, known), Origin(variable)))


def _override(source: Source, model: type[BaseModel], variable: str, place: Place, text: str) -> None:
    target: Any = source.data
    for section in place[:-1]:
        if target.get(section) is None:
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            return
    source.forget(place)
    source.origins[place] = Origin(variable)
    if is_collection(annotation_at(model, place)):
        target[place[-1]] = _collection(source, model, variable, place, text)
    else:
        target[place[-1]] = typed_for(model, place, text)


def _collection(source: Source, model: type[BaseModel], variable: str, place: Place, text: str) -> Any:
    try:
        node = nodes.compose(text)
    except yaml.YAMLError as error:
        source.spoil(place, f"must be a list or a mapping, written as YAML: {nodes.reason(error)}")
        return None
    return None if node is None else nodes.Builder(source, model, variable, None).value(node, place)


def _no_such(variable: str, known: Mapping[str, Place]) -> str:
    within = (name for name, place in known.items() if len(place) == 1 and variable.startswith(f"{name}__"))
    if whole := next(within, None):
        return f"there is no such key; set the whole list: {whole}='[...]'"
    return f"there is no such key{closest(variable.upper(), known) or '; config.example.yaml shows every key'}"
