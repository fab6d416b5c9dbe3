"""Fills in templates: each is compiled once, and filled with every event of its endpoint."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import ChainableUndefined, nodes
from jinja2.environment import TemplateExpression
from jinja2.sandbox import ImmutableSandboxedEnvironment

from relay.formats import response_rules

FILTERS = ("capitalize", "default", "lower", "title", "trim", "truncate", "upper")
CACHE_SIZE = 64
"""Templates in memory, the most recently used ones."""

MAX_TEXTS = 10_000
"""Compiled texts in memory, of all templates: a hundred templates with a hundred placeholders each. Some KB for one."""

Filler = Callable[[Mapping[str, Any]], Any]
"""Makes a body, or a part of one, of the values that placeholders can name."""


@lru_cache(maxsize=CACHE_SIZE)
def compile_template(template: str) -> Filler:
    """A valid template, compiled. Compiling a text takes a millisecond, and happens in a transaction: so texts are
    cached one by one, and any number of templates can be kept."""
    return _compile(response_rules.without_rules(json.loads(template)))


def _compile(value: Any) -> Filler:
    match value:
        case str() if "{" in value:
            return _text_or_as_written(value)  # guard: template-fault
        case dict():
            parts = {key: _compile(item) for key, item in value.items()}
            return lambda values: {key: fill(values) for key, fill in parts.items()}
        case list():
            items = [_compile(item) for item in value]
            return lambda values: [fill(values) for fill in items]
    return lambda values: value


@lru_cache(maxsize=MAX_TEXTS)  # guard: compiled-once
def _text_or_as_written(text: str) -> Filler:
    """The filled text; or the text as written, if its filters fail for these values: no template blocks an event."""
    try:
        fill = compiled_text(text)
    except Exception:
        return lambda values: text

    def filled(values: Mapping[str, Any]) -> Any:
        try:
            return fill(values)
        except Exception:
            return text

    return filled


def compiled_text(text: str) -> Filler:
    """One text, compiled. Raises Jinja's errors, now or when it is filled."""
    parts = [part for output in environment().parse(text).find_all(nodes.Output) for part in output.nodes]
    if len(parts) != 1 or isinstance(parts[0], nodes.TemplateData):
        return environment().from_string(text).render
    # A single placeholder becomes the value itself, not its text.
    expression = nodes.Template([nodes.Assign(nodes.Name("result", "store"), parts[0], lineno=1)], lineno=1)
    expression.set_environment(environment())
    return TemplateExpression(environment().from_string(expression), undefined_to_none=True)


def _finalized(value: Any) -> Any:
    """A value within a text: an object, list or boolean as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


class _Environment(ImmutableSandboxedEnvironment):
    """Dots and brackets read entries of JSON, never attributes of Python objects. Null counts as missing."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        value = None
        if isinstance(obj, Mapping):
            value = obj.get(argument)
        elif isinstance(obj, list) and isinstance(argument, int) and 0 <= argument < len(obj):
            value = obj[argument]
        return self.undefined(obj=obj, name=argument) if value is None else value


@lru_cache(maxsize=1)
def environment() -> _Environment:
    """The environment that parses and compiles templates. It has FILTERS, and nothing else of Jinja's."""
    environment = _Environment(undefined=ChainableUndefined, finalize=_finalized, keep_trailing_newline=True)
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.globals = {}
    return environment
