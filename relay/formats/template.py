"""`template`: the subscriber's own JSON body, with `{{ job.scenario.name }}` in its texts.

A text may hold placeholders of Jinja's syntax: a path, and filters (`| default("none")`, `| upper`, ...); nothing that
loops, calls, calculates or branches. A text that is one placeholder and nothing else becomes the value itself, null or
an object too; elsewhere null becomes nothing. Values stay within their text, as the body is made as a value and only
then written as JSON: no scenario's name can break out of it. Keys are kept as they are.
"""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from jinja2 import ChainableUndefined, TemplateSyntaxError, nodes
from jinja2.environment import TemplateExpression
from jinja2.sandbox import ImmutableSandboxedEnvironment

from relay.errors import Invalid
from relay.formats.cutting import fit
from relay.formats.wording import words
from relay.model import Event, EventType, Registration, to_rfc3339
from relay.samples import sample_event

NAME = "template"
MOST_CHARACTERS = 32 * 1024
"""Of a template, written as JSON."""
MOST_PLACEHOLDERS = 100
"""Of a template, and of its filters: each is compiled anew for every event."""
MOST_DEPTH = 20
MOST_TEXT = 10_000
"""UTF-16 units of each text that Exec or a registration brings."""

MOST_BODY = 256 * 1024
"""Characters of a body; where it has more, texts are cut to 100 units, lists and objects to their first 20 entries."""

FILTERS = ("capitalize", "default", "lower", "title", "trim", "truncate", "upper")
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Const,
    nodes.Keyword,
)

PATHS = frozenset(
    """type timestamp workspace headline summary detail link
    job job.id job.status job.created_at job.started_at job.completed_at job.duration_seconds
    job.scenario job.scenario.id job.scenario.name job.scenario.url job.error job.error.code job.error.message
    registration registration.id registration.metadata""".split()
)
"""What a placeholder may name; below `registration.metadata` anything, and anything that has a `default`."""


def check(template: Any, field: str = "template") -> str:
    """The template as it is kept. Raises Invalid that names the place and what to write instead."""
    if not isinstance(template, dict) or not template:
        raise Invalid("invalid_template", "a template is a JSON object, the body that is to be sent", field)
    kept = json.dumps(template, ensure_ascii=False)
    if len(kept) > MOST_CHARACTERS:
        raise Invalid("invalid_template", f"a template has at most {MOST_CHARACTERS // 1024} KiB as JSON", field)
    if max(kept.count("{{"), kept.count("{%"), kept.count("|")) > MOST_PLACEHOLDERS:
        many = f"a template has at most {MOST_PLACEHOLDERS} placeholders, and as many filters"
        raise Invalid("invalid_template", many, field)
    try:
        for place, text in _texts(template, field):
            _check_text(text, place)
            _try_out(text, place)
    except RecursionError:
        raise Invalid("invalid_template", "a placeholder is nested too deep", field) from None
    return kept


def body(kept: str, event: Event, registration: Registration | None) -> Any:
    """The body that a checked template makes of an event."""
    known = context(event, registration)
    filled = _filled(json.loads(kept), known)
    if len(json.dumps(filled, ensure_ascii=False)) <= MOST_BODY:
        return filled
    # A large job in many places: what it says is cut, rather than kept back from everybody.
    return _filled(json.loads(kept), {name: _cut_down(value) for name, value in known.items()})


def context(event: Event, registration: Registration | None) -> dict[str, Any]:
    """What placeholders can name."""
    said = words(event)
    registered = {"id": registration.id, "metadata": dict(registration.metadata)} if registration else None
    named = {
        "type": event.type.value,
        "timestamp": to_rfc3339(event.occurred_at),
        "workspace": event.workspace,
        "job": dict(event.job),
        "registration": registered,
        "headline": said.headline,
        "summary": said.summary,
        "detail": said.detail,
        "link": said.link,
    }
    return {name: _shortened(value) for name, value in named.items() if value is not None}


def _texts(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text of a template that is a value, with its place."""
    if depth > MOST_DEPTH:
        raise Invalid("invalid_template", f"a template is at most {MOST_DEPTH} deep", place)
    match value:
        case str():
            yield place, value
        case Mapping():
            for key, item in value.items():
                yield from _texts(item, f"{place}.{key}", depth + 1)
        case list():
            for number, item in enumerate(value):
                yield from _texts(item, f"{place}[{number}]", depth + 1)


def _check_text(text: str, place: str) -> None:
    try:
        parsed = _environment().parse(text)
    except TemplateSyntaxError as error:
        raise Invalid("invalid_template", f"this placeholder can't be read: {error.message}", place) from None
    for node in parsed.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED) or (isinstance(node, nodes.Getattr | nodes.Getitem) and _path(node) is None):
            what = "a placeholder is a path and filters, such as {{ job.scenario.name | default('none') }}"
            raise Invalid("invalid_template", f"{what}; it can't calculate, loop, branch or call", place)
    for one in parsed.find_all(nodes.Filter):
        if one.name not in FILTERS:
            raise Invalid("invalid_template", _unknown("filter", one.name, FILTERS), place)
    for path, may_be_missing in _paths(parsed, False):
        below_metadata = path.startswith("registration.metadata.")
        if path not in PATHS and not below_metadata and not (may_be_missing and path.startswith("job.")):
            raise Invalid("invalid_template", _unknown("placeholder", path, sorted(PATHS)), place)


def _try_out(text: str, place: str) -> None:
    """Fills in samples: the wrong argument of a filter only shows when it is called."""
    for type in EventType:
        try:
            _text(text, context(sample_event(type, 0), None))
        except RecursionError:
            raise
        except Exception:
            what = "this placeholder can't be filled in; are the arguments of its filters right?"
            raise Invalid("invalid_template", what, place) from None


def _paths(node: nodes.Node, may_be_missing: bool) -> Iterator[tuple[str, bool]]:
    """Every path that is named, and whether a `default` stands for it where it is missing."""
    path = _path(node)
    if path is not None:
        yield path, may_be_missing
        return
    missing = may_be_missing or (isinstance(node, nodes.Filter) and node.name == "default")
    for child in node.iter_child_nodes():
        yield from _paths(child, missing)


def _path(node: nodes.Node) -> str | None:
    match node:
        case nodes.Name(name=str(name)):
            return name
        case nodes.Getattr(node=inner, attr=str(attr)):
            before = _path(inner)
            return None if before is None else f"{before}.{attr}"
        case nodes.Getitem(node=inner, arg=nodes.Const(value=str() | int() as key)):
            before = _path(inner)
            return None if before is None else f"{before}.{key}"
    return None


def _unknown(what: str, name: str, known: tuple[str, ...] | list[str]) -> str:
    close = get_close_matches(name, known, 1, 0.6)
    hint = f'did you mean "{close[0]}"?' if close else f"there is {', '.join(known)}"
    return f'there is no {what} "{name[:100]}"; {hint}'


def _shortened(value: Any) -> Any:
    match value:
        case str():
            return fit(value, MOST_TEXT) if len(value) > MOST_TEXT // 2 else value
        case Mapping():
            return {key: _shortened(item) for key, item in value.items()}
        case list():
            return [_shortened(item) for item in value]
    return value


def _cut_down(value: Any, depth: int = 0) -> Any:
    match value:
        case str():
            return fit(value, 100)
        case Mapping():
            some = list(value.items())[:20] if depth < 3 else []
            return {fit(key, 100): _cut_down(item, depth + 1) for key, item in some}
        case list():
            return [_cut_down(item, depth + 1) for item in value[:20]] if depth < 3 else []
    return value


def _filled(value: Any, known: Mapping[str, Any]) -> Any:
    match value:
        case str():
            return _text_or_as_written(value, known) if "{" in value else value
        case dict():
            return {key: _filled(item, known) for key, item in value.items()}
        case list():
            return [_filled(item, known) for item in value]
    return value


def _text_or_as_written(text: str, known: Mapping[str, Any]) -> Any:
    """The filled text; as it was written where these values don't fit its filters: no template keeps an event back."""
    try:
        return _text(text, known)
    except Exception:
        return text


def _text(text: str, known: Mapping[str, Any]) -> Any:
    parts = [part for output in _environment().parse(text).find_all(nodes.Output) for part in output.nodes]
    if len(parts) != 1 or isinstance(parts[0], nodes.TemplateData):
        return _environment().from_string(text).render(**known)
    # One placeholder and nothing else: the value itself, and not the text that it makes.
    alone = nodes.Template([nodes.Assign(nodes.Name("result", "store"), parts[0], lineno=1)], lineno=1)
    alone.set_environment(_environment())
    return TemplateExpression(_environment().from_string(alone), undefined_to_none=True)(**known)


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
def _environment() -> _Environment:
    found = _Environment(undefined=ChainableUndefined, finalize=_finalized, keep_trailing_newline=True)
    found.filters = {name: found.filters[name] for name in FILTERS}
    found.globals = {}
    return found
