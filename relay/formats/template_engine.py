"""Filling in templates: each is compiled once, and filled with every event that its endpoint hears of."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import ChainableUndefined, nodes
from jinja2.environment import TemplateExpression
from jinja2.sandbox import ImmutableSandboxedEnvironment

from relay.formats import answer_rules

FILTERS = ("capitalize", "default", "lower", "title", "trim", "truncate", "upper")
CACHE_SIZE = 64
"""Templates that stay compiled, those used last."""

Filler = Callable[[Mapping[str, Any]], Any]
"""What makes a body, or a part of one, of the values that placeholders can name."""


@lru_cache(maxsize=CACHE_SIZE)
def compile_template(kept: str) -> Filler:
    """A checked template, ready to be filled. It takes milliseconds, and is asked for in a transaction."""
    return _compile(answer_rules.without_rules(json.loads(kept)))


def _compile(value: Any) -> Filler:
    match value:
        case str() if "{" in value:
            return _text_or_as_written(value)  # guard: template-fault
        case dict():
            parts = {key: _compile(item) for key, item in value.items()}
            return lambda known: {key: fill(known) for key, fill in parts.items()}
        case list():
            items = [_compile(item) for item in value]
            return lambda known: [fill(known) for fill in items]
    return lambda known: value


def _text_or_as_written(text: str) -> Filler:
    """The filled text; as it was written where these values don't fit its filters: no template keeps an event back."""
    try:
        fill = compiled_text(text)
    except Exception:
        return lambda known: text

    def filled(known: Mapping[str, Any]) -> Any:
        try:
            return fill(known)
        except Exception:
            return text

    return filled


def compiled_text(text: str) -> Filler:
    """One text, ready to be filled. Raises what Jinja raises, then or when it is filled."""
    parts = [part for output in environment().parse(text).find_all(nodes.Output) for part in output.nodes]
    if len(parts) != 1 or isinstance(parts[0], nodes.TemplateData):
        return environment().from_string(text).render
    # One placeholder and nothing else: the value itself, and not the text that it makes.
    alone = nodes.Template([nodes.Assign(nodes.Name("result", "store"), parts[0], lineno=1)], lineno=1)
    alone.set_environment(environment())
    return TemplateExpression(environment().from_string(alone), undefined_to_none=True)


def _finalized(value: Any) -> Any:
    """A value within a text: of what is no text, its JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


class _Environment(ImmutableSandboxedEnvironment):
    """Dots and brackets lead to what JSON holds, never to what Python's objects have beside; null counts as missing."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        found = None
        if isinstance(obj, Mapping):
            found = obj.get(argument)
        elif isinstance(obj, list) and isinstance(argument, int) and 0 <= argument < len(obj):
            found = obj[argument]
        return self.undefined(obj=obj, name=argument) if found is None else found


@lru_cache(maxsize=1)
def environment() -> _Environment:
    """What templates are read and compiled by: nothing but FILTERS is known in it."""
    found = _Environment(undefined=ChainableUndefined, finalize=_finalized, keep_trailing_newline=True)
    found.filters = {name: found.filters[name] for name in FILTERS}
    found.globals = {}
    return found
