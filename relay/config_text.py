"""Reading the configuration's text: YAML with lines remembered, variables filled in, the environment laid over it."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from relay.errors import ConfigError

LARGEST = 1024 * 1024
"""Bytes of a configuration file at the most."""

_DEEPEST = 20
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_OVERRIDE = re.compile(r"RELAY_([A-Z]+(?:__[A-Z0-9_]+?)+)")

Place = tuple[str | int, ...]
"""Where in the configuration: `("polling", "tick")`, `("endpoints", 0, "url")`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and where. Its text never holds a value."""

    place: Place
    text: str


@dataclass(slots=True)
class Source:
    """What was read: the data, and where each place of it came from."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def lines(self, problems: Iterable[Problem]) -> list[str]:
        """Each problem as a line for people: origin, key, what is wrong."""
        return [": ".join(filter(None, (self._origin(p.place), dotted(p.place), p.text))) for p in problems]

    def _origin(self, place: Place) -> str:
        while place not in self.origins and place:
            place = place[:-1]
        return self.origins.get(place, "")


def dotted(place: Place) -> str:
    """`("endpoints", 0, "url")` → `endpoints[0].url`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def nearest(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean "interval"?` where something is close, else what there is."""
    names = sorted(known)
    if close := difflib.get_close_matches(wrong, names, 1, 0.6):
        return f'; did you mean "{close[0]}"?'
    return f"; known here: {', '.join(names)}" if names else ""


def names_at(model: type[BaseModel], place: Place) -> set[str]:
    """The keys that may stand at a place."""
    found = _model_at(model, place)
    return set(found.model_fields) if found else set()


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in place:
        if isinstance(part, int) or current is None:
            continue
        known = current.model_fields.get(part)
        current = _inner_model(known.annotation) if known else None
    return current


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _inner_model(inner))), None)


def read(path: Path | None, environ: Mapping[str, str], model: type[BaseModel]) -> Source:
    """Reads the file, fills in variables, lays the environment over it.

    Raises ConfigError where there is no text to speak of; what is wrong inside it is in `problems`.
    """
    source = Source()
    if path is not None:
        node = _compose(path)
        source.origins[()] = str(path)
        if node is not None:
            data = _build(node, (), source, str(path), environ, 0)
            if not isinstance(data, dict):
                raise ConfigError(f"{path}:1: the configuration must be keys and values, such as `exec:`")
            source.data = data
    for variable, text in sorted(environ.items()):
        if _OVERRIDE.fullmatch(variable):
            _override(source, variable, text, model)
    return source


def _compose(path: Path) -> yaml.Node | None:
    try:
        if path.is_file() and path.stat().st_size > LARGEST:
            raise ConfigError(f"{path}: larger than 1 MiB; is this the right file?")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}; start from config.example.yaml") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ConfigError(f"{path}:{line}: YAML aliases (*name) are not read here")
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{path}:{line}: this is no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise ConfigError(f"{path}: this is no YAML that can be read") from None


def _build(node: yaml.Node, place: Place, source: Source, path: str, environ: Mapping[str, str], depth: int) -> Any:
    source.origins[place] = f"{path}:{node.start_mark.line + 1}"
    if depth > _DEEPEST:
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: nested too deeply")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, source, path, environ, depth)
    if isinstance(node, yaml.SequenceNode):
        items = enumerate(node.value)
        return [_build(item, (*place, number), source, path, environ, depth + 1) for number, item in items]
    return _scalar(node, place, source, environ)


def _mapping(
    node: yaml.MappingNode, place: Place, source: Source, path: str, environ: Mapping[str, str], depth: int
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        here = (*place, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
        source.origins[here] = f"{path}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            source.problems.append(Problem(here, "a key must be a plain word"))
        elif key.value in found:
            source.problems.append(Problem(here, "stands here twice"))
        else:
            found[key.value] = _build(value, here, source, path, environ, depth + 1)
            source.origins[here] = f"{path}:{key.start_mark.line + 1}"
    return found


def _scalar(node: yaml.Node, place: Place, source: Source, environ: Mapping[str, str]) -> Any:
    text = str(node.value)
    if "$" not in text:
        return _typed(node, source, place)
    missing = []

    def fill(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        value = environ.get(found[1]) or found[2]
        if value is None:
            missing.append(found[1])
        return value or ""

    filled = _VARIABLE.sub(fill, text)
    for name in missing:
        source.problems.append(Problem(place, f"the variable {name} is not set; set it, or write ${{{name}:-default}}"))
    if _VARIABLE.fullmatch(text) and text != "$$":
        return plain(filled)
    return filled


def _typed(node: yaml.Node, source: Source, place: Place) -> Any:
    try:
        loader = yaml.SafeLoader("")
        value = loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, OverflowError):
        source.problems.append(Problem(place, "is no value that can be read"))
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(node.value)


def plain(text: str) -> Any:
    """A variable's text typed as YAML would type it: `8080` is a number. Never more than a scalar."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return text
    return value if isinstance(value, (bool, int, float)) else text


def _override(source: Source, variable: str, text: str, model: type[BaseModel]) -> None:
    parts = variable.removeprefix("RELAY_").lower().split("__")
    place: Place = ()
    for part in parts:
        known = names_at(model, place)
        if part not in known:
            names = {"RELAY_" + "__".join([*map(str, place), name]).upper() for name in known}
            source.origins[tuple(parts)] = variable
            source.problems.append(Problem(tuple(parts), f"there is no such key{nearest(variable, names)}"))
            return
        place = (*place, part)
    value: Any = plain(text)
    if text.lstrip()[:1] in ("[", "{"):
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            source.origins[place] = variable
            source.problems.append(Problem(place, "is no YAML list or mapping"))
            return
    target: Any = source.data
    for section in place[:-1]:
        target = target.setdefault(section, {}) if isinstance(target, dict) else {}
        if not isinstance(target, dict):
            return
    target[place[-1]] = value
    source.origins[place] = variable
