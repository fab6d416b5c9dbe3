"""YAML nodes to data. The line of every key is recorded, and variables are filled in after parsing.

Scalars follow JSON, as in YAML 1.2: `true`, `false`, `null`, and plain decimal numbers. Everything else is text as it
is written, so `NO`, `on`, `12:30`, `010` and `1_000` never change their value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from relay.config.environment import read_variable
from relay.config.source_map import KeyPath, Problem, Source, SourceLocation, annotation_at, is_number_or_boolean

_MAX_DEPTH = 20
_MAX_NODES = 20_000
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_ECHOED = re.compile(r"(?<=tag handle) .*")

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}")


class _Loader(yaml.SafeLoader):
    """Composes plain YAML: no anchors, a bounded depth and a bounded number of nodes."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    _depth = 0
    _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth, self._nodes = self._depth + 1, self._nodes + 1
        problem = None
        if getattr(event, "anchor", None) is not None:
            problem = "YAML aliases (&name, *name) are not supported; a value that begins with & or * needs quotes"
        elif self._depth > _MAX_DEPTH:
            problem = "nested too deeply"
        elif self._nodes > _MAX_NODES:
            problem = f"holds more than {_MAX_NODES:,} values; is this the right file?"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _kind, _pattern in (("null", _NULL), ("bool", _BOOLEAN), ("int", _INTEGER), ("float", _FLOAT)):
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"(?:{_pattern.pattern})$"), None)


def compose(text: str) -> yaml.Node | None:
    """The root node of a YAML text; None if the text is empty. Raises YAMLError."""
    try:
        return yaml.compose(text, _Loader)
    except yaml.reader.ReaderError as error:
        mark = yaml.Mark("", 0, text.count("\n", 0, error.position), 0, None, 0)
        raise yaml.MarkedYAMLError(problem="holds a character that can't be shown", problem_mark=mark) from None
    except ValueError:
        raise yaml.YAMLError from None


def is_null(node: yaml.Node) -> bool:
    """Whether a node has no value, such as the text `---`."""
    return bool(node.tag == f"{_TAG}null")


def line_of(error: yaml.YAMLError) -> int:
    """The line of a YAML error."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return mark.line + 1 if mark else 1


def reason(error: yaml.YAMLError) -> str:
    """The reason of a YAML error, without quotations of the text: those may be part of a secret."""
    text = getattr(error, "problem", None) or getattr(error, "context", None) or "it can't be read"
    return _ECHOED.sub("", str(text))


@dataclass(frozen=True, slots=True)
class YamlReader:
    """Makes data of nodes, and records in `source` their locations and problems."""

    source: Source
    model: type[BaseModel]
    name: str
    """The file, or the variable that holds the text."""
    environ: Mapping[str, str] | None
    """Fills in `${VAR}`. None: the text is the value of a variable, which has no lines and takes no variables."""

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """The value of a node; None, with a problem recorded, if it can't be read."""
        self.source.origins.setdefault(path, self._origin(node))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(entry, (*path, number)) for number, entry in enumerate(node.value)]
        if self.environ is not None and "$" in node.value:
            return self._interpolate(node.value, path, self.environ)
        return self._scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        """The keys and values of a mapping. If a key stands there twice, the first one counts."""
        data: dict[str, Any] = {}
        for key, value in node.value:
            at = (*path, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            if not isinstance(key, yaml.ScalarNode):
                self.source.problems.append(Problem(at, "a key must be a plain word", self._origin(key)))
            elif key.value in data:
                text = f"stands here twice, first at {self.source.origins[at]}"
                self.source.problems.append(Problem(at, text, self._origin(key)))
            else:
                self.source.origins[at] = self._origin(key)
                data[key.value] = self.value(value, at)
        return data

    def _origin(self, node: yaml.Node) -> SourceLocation:
        return SourceLocation(self.name, 0 if self.environ is None else node.start_mark.line + 1)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        if node.tag == f"{_TAG}str":
            return node.value
        if is_null(node) and _NULL.fullmatch(node.value):
            return None
        value = parse_scalar(node.value)
        if node.tag != f"{_TAG}{type(value).__name__}":
            self.source.mark_invalid(path, "can't be read; a value that begins with ! needs quotes")
            return None
        is_key = is_number_or_boolean(annotation_at(self.model, path))
        return node.value if isinstance(value, float) and not is_key and str(value) != node.value else value

    def _interpolate(self, text: str, path: KeyPath, environ: Mapping[str, str]) -> Any:
        problems: dict[str, None] = {}

        def fill(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            name, default = match[1], match[2]
            try:
                value = name and (environ.get(name) or default or (read_variable(name, environ) or None))
            except ValueError as error:
                problems[f"the variable {name}_FILE: {error}"] = None
                return ""
            if value is None and default is None:
                problems[_how_to_write(name)] = None
            return value or ""

        filled = _VARIABLE.sub(fill, text)
        for problem in problems:
            self.source.mark_invalid(path, problem)
        if problems:
            return None
        is_whole = text != "$$" and _VARIABLE.fullmatch(text)
        return coerce(self.model, path, filled) if is_whole else filled


def _how_to_write(variable: str | None) -> str:
    if variable is None:
        return "write a variable as ${NAME} or ${NAME:-default}, and a dollar sign before a brace as $$"
    return f"the variable {variable} is not set, or empty; set it, or write ${{{variable}:-default}}"


def coerce(model: type[BaseModel], path: KeyPath, text: str) -> Any:
    """The text of a variable as the type of its key: a number or boolean if the key takes one. Empty text is null."""
    if not text:
        return None
    return parse_scalar(text) if is_number_or_boolean(annotation_at(model, path)) else text


def parse_scalar(text: str) -> bool | int | float | str:
    """`8080` is a number, `true` a boolean; everything else stays the same text."""
    if _BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
