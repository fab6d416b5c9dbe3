"""YAML made into data: every line remembered, variables filled in after parsing, so that a value stays a value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from relay.config.source_map import KeyPath, Problem, Source, SourceLocation, annotation_at

_DEEPEST = 20
_MOST_NODES = 20_000
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_ECHOED = re.compile(r"(?<=tag handle) .*")
_UNREADABLE = (yaml.YAMLError, ValueError, OverflowError)


class _Loader(yaml.SafeLoader):
    """Nodes of plain YAML: no anchors, and only so deep and so many."""

    _depth = 0
    _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth, self._nodes = self._depth + 1, self._nodes + 1
        wrong = None
        if getattr(event, "anchor", None) is not None:
            wrong = "YAML aliases (&name, *name) are not read here; a value that begins with & or * needs quotes"
        elif self._depth > _DEEPEST:
            wrong = "nested too deeply"
        elif self._nodes > _MOST_NODES:
            wrong = f"holds more than {_MOST_NODES:,} values; is this the right file?"
        if wrong:
            raise yaml.MarkedYAMLError(problem=wrong, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def compose(text: str) -> yaml.Node | None:
    """The root of a YAML text, None where it is empty. Raises YAMLError."""
    try:
        return yaml.compose(text, _Loader)
    except yaml.reader.ReaderError as error:
        mark = yaml.Mark("", 0, text.count("\n", 0, error.position), 0, None, 0)
        raise yaml.MarkedYAMLError(problem="holds a character that can't be shown", problem_mark=mark) from None
    except ValueError:
        raise yaml.YAMLError from None


def is_null(node: yaml.Node) -> bool:
    """Whether a node says nothing, such as the text `---`."""
    return bool(node.tag == "tag:yaml.org,2002:null")


def line_of(error: yaml.YAMLError) -> int:
    """The line that YAML blames."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return mark.line + 1 if mark else 1


def reason(error: yaml.YAMLError) -> str:
    """What YAML says is wrong, less what it quotes of the text: that may be part of a secret."""
    said = getattr(error, "problem", None) or getattr(error, "context", None) or "it can't be read"
    return _ECHOED.sub("", str(said))


@dataclass(frozen=True, slots=True)
class YamlReader:
    """Makes data of nodes, and notes in `source` where each came from and what is wrong with it."""

    source: Source
    model: type[BaseModel]
    name: str
    """The file, or the variable."""
    environ: Mapping[str, str] | None
    """What fills in `${VAR}`. None: the text is a variable's own, which nothing fills in and which has no lines."""

    def value(self, node: yaml.Node, place: KeyPath) -> Any:
        """What a node holds; None, and a problem noted, where that can't be read."""
        self.source.origins.setdefault(place, self._origin(node))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(entry, (*place, number)) for number, entry in enumerate(node.value)]
        if self.environ is not None and "$" in node.value:
            return self._interpolate(node.value, place, self.environ)
        return self._typed(node, place)

    def mapping(self, node: yaml.MappingNode, place: KeyPath) -> dict[str, Any]:
        """The keys and values of a mapping; of a key that stands there twice, the first."""
        found: dict[str, Any] = {}
        for key, value in node.value:
            here = (*place, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            if not isinstance(key, yaml.ScalarNode):
                self.source.problems.append(Problem(here, "a key must be a plain word", self._origin(key)))
            elif key.value in found:
                text = f"stands here twice, first at {self.source.origins[here]}"
                self.source.problems.append(Problem(here, text, self._origin(key)))
            else:
                self.source.origins[here] = self._origin(key)
                found[key.value] = self.value(value, here)
        return found

    def _origin(self, node: yaml.Node) -> SourceLocation:
        return SourceLocation(self.name, 0 if self.environ is None else node.start_mark.line + 1)

    def _typed(self, node: yaml.Node, place: KeyPath) -> Any:
        """A scalar as YAML types it; dates, and whatever else YAML knows, stay text."""
        try:
            value = yaml.SafeLoader("").construct_object(node, deep=True)
        except _UNREADABLE:
            self.source.mark_invalid(place, "can't be read; a value that begins with ! needs quotes")
            return None
        return value if value is None or isinstance(value, (bool, int, float, str)) else node.value

    def _interpolate(self, text: str, place: KeyPath, environ: Mapping[str, str]) -> Any:
        whys: dict[str, None] = {}

        def fill(found: re.Match[str]) -> str:
            if found[0] == "$$":
                return "$"
            value = found[1] and (environ.get(found[1]) or found[2])
            if value is None:
                whys[_how_to_write(found[1])] = None
            return value or ""

        filled = _VARIABLE.sub(fill, text)
        for why in whys:
            self.source.mark_invalid(place, why)
        if whys:
            return None
        whole = text != "$$" and _VARIABLE.fullmatch(text)
        return coerce(self.model, place, filled) if whole else filled


def _how_to_write(variable: str | None) -> str:
    if variable is None:
        return "write a variable as ${NAME} or ${NAME:-default}, and a dollar sign before a brace as $$"
    return f"the variable {variable} is not set, or empty; set it, or write ${{{variable}:-default}}"


def coerce(model: type[BaseModel], place: KeyPath, text: str) -> Any:
    """A variable's text as its key wants it: typed as YAML would, but text where text is wanted; empty is null."""
    if not text:
        return None
    return parse_scalar(text) if annotation_at(model, place) in (int, float, bool) else text


def parse_scalar(text: str) -> Any:
    """A variable's text typed as YAML would type it: `8080` is a number. Never more than a scalar."""
    try:
        value = yaml.safe_load(text)
    except (*_UNREADABLE, RecursionError):
        return text
    return value if isinstance(value, (bool, int, float)) else text
