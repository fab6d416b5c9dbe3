"""`template`: the subscriber's own JSON body, with placeholders such as `{{ job.scenario.name }}` in its texts.

A placeholder has Jinja's syntax: a path, and filters (`| default("none")`, `| upper`, ...), without loops, calls,
calculations or branches. A text that is a single placeholder becomes the value itself, also null or an object; in a
longer text, null becomes nothing. The body is filled as a value and then serialized as JSON, so no scenario's name can
break out of its text. Keys stay as they are.

Two keys of the template are not sent: `$rejected_if` and `$accepted_if` say which responses mean that the receiver
rejected the message (`response_rules.py`).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import TemplateSyntaxError, nodes

from relay.errors import ValidationFailed
from relay.formats import response_rules, standard
from relay.formats.flat import all_metadata
from relay.formats.message_text import describe_event
from relay.formats.sample_event import sample_event
from relay.formats.template_engine import FILTERS, compile_template, compiled_text, environment
from relay.formats.truncate import truncate
from relay.model import Event, EventType, Registration, to_rfc3339
from relay.suggestions import did_you_mean_or_list

NAME = "template"

Location = tuple[str | int, ...]
"""A position in a template: `("blocks", 0, "text")`."""

MAX_CHARACTERS = 32 * 1024
"""Characters of a template as JSON."""
MAX_PLACEHOLDERS = 100
"""Placeholders of a template, and also its filters: each takes time to compile and to fill in."""
MAX_DEPTH = 20
MAX_TEXT = 10_000
"""UTF-16 units of each text from Exec or a registration."""

MAX_BODY = 256 * 1024
"""Characters of a body. In a larger body texts are cut to 100 units, lists and objects to their first 20 entries."""

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
    """type timestamp workspace headline summary detail link page next_step requested_by prompt metadata test
    job job.id job.status job.created_at job.started_at job.completed_at job.duration_seconds
    job.scenario job.scenario.id job.scenario.name job.scenario.url job.error job.error.code job.error.message
    registration registration.id registration.metadata replaces replaces.event_id replaces.type""".split()
)
"""What a placeholder may name; below `metadata` and `registration.metadata` anything, also what has a `default`."""


class InvalidTemplate(ValidationFailed):
    """The template is invalid at `location`; `field` is the location as text."""

    def __init__(self, message: str, location: Location = ()) -> None:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
        super().__init__("invalid_template", message, f"template{path}")
        self.location = location


def check(template: Any) -> str:
    """The template as it is stored. Raises InvalidTemplate, with the location and what to write instead."""
    if not isinstance(template, dict) or not response_rules.without_rules(template):
        raise InvalidTemplate("a template is a JSON object, the body that is to be sent")
    for key in response_rules.KEYS:
        if key in template and (problem := response_rules.find_problem(template[key])):
            raise InvalidTemplate(problem, (key,))
    stored = json.dumps(template, ensure_ascii=False)
    if len(stored) > MAX_CHARACTERS:
        raise InvalidTemplate(f"a template has at most {MAX_CHARACTERS // 1024} KiB as JSON")
    if max(stored.count("{{"), stored.count("{%"), stored.count("|")) > MAX_PLACEHOLDERS:
        raise InvalidTemplate(f"a template has at most {MAX_PLACEHOLDERS} placeholders, and as many filters")
    try:
        for location, text in _texts(response_rules.without_rules(template), ()):
            _check_text(text, location)
            _render_sample(text, location)
    except RecursionError:
        raise InvalidTemplate("a placeholder is nested too deep") from None
    return stored


def body(template: str, event: Event, registration: Registration | None) -> Any:
    """The body of an event, by a template that `check` returned."""
    values = context(event, registration)
    fill = compile_template(template)
    filled = fill(values)
    if len(json.dumps(filled, ensure_ascii=False)) <= MAX_BODY:
        return filled
    # A large job that a template names many times: cut values are better than no notification.
    return fill({name: _truncate_values(value) for name, value in values.items()})


def context(event: Event, registration: Registration | None) -> dict[str, Any]:
    """The values that placeholders can name."""
    event_text = describe_event(event)
    registered = {"id": registration.id, "metadata": dict(registration.metadata)} if registration else None
    values = {
        "type": event.type.value,
        "timestamp": to_rfc3339(event.occurred_at),
        "workspace": event.workspace,
        "job": dict(event.job),
        "registration": registered,
        "headline": event_text.headline,
        "summary": event_text.summary,
        "detail": event_text.detail,
        "link": event_text.link,
        "page": event_text.page,
        "next_step": event_text.next_step,
        "requested_by": event.context.requested_by,
        "prompt": event.context.prompt,
        "metadata": all_metadata(event, registration),
        "test": event.context.test,
        "replaces": standard.replaces(event),
    }
    return {name: _shortened(value) for name, value in values.items() if value is not None}


def _texts(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    """Every text of a template that is a value, with its location."""
    if len(location) > MAX_DEPTH:
        raise InvalidTemplate(f"a template is at most {MAX_DEPTH} deep", location)
    match value:
        case str():
            yield location, value
        case Mapping():
            for key, item in value.items():
                yield from _texts(item, (*location, key))
        case list():
            for number, item in enumerate(value):
                yield from _texts(item, (*location, number))


def _check_text(text: str, location: Location) -> None:
    try:
        parsed = environment().parse(text)
    except TemplateSyntaxError as error:
        raise InvalidTemplate(f"this placeholder can't be read: {error.message}", location) from None
    # guard: template-numbers
    except ValueError:  # Python's, for a number of thousands of digits
        raise InvalidTemplate("a number in this placeholder is too long", location) from None
    steps = sum(1 for _ in parsed.find_all((nodes.Getattr, nodes.Getitem, nodes.Filter)))
    if steps > MAX_PLACEHOLDERS:
        message = f"a text has at most {MAX_PLACEHOLDERS} placeholders, filters and steps of paths"
        raise InvalidTemplate(message, location)
    for node in parsed.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED) or (isinstance(node, nodes.Getattr | nodes.Getitem) and _path(node) is None):
            message = "a placeholder is a path and filters, such as {{ job.scenario.name | default('none') }}"
            raise InvalidTemplate(f"{message}; it can't calculate, loop, branch or call", location)
    for filter in parsed.find_all(nodes.Filter):
        if filter.name not in FILTERS:
            raise InvalidTemplate(_unknown("filter", filter.name, FILTERS), location)
    for path, may_be_missing in _paths(parsed, False):
        below_metadata = path.startswith(("metadata.", "registration.metadata."))
        if path not in PATHS and not below_metadata and not (may_be_missing and path.startswith("job.")):
            raise InvalidTemplate(_unknown("placeholder", path, sorted(PATHS)), location)


def _render_sample(text: str, location: Location) -> None:
    """Fills in sample events: only a call of a filter shows whether its arguments are right."""
    try:
        fill = compiled_text(text)
        for type in EventType:
            fill(context(sample_event(type, 0), None))
    except RecursionError:
        raise
    except Exception:
        message = "this placeholder can't be filled in; are the arguments of its filters right?"
        raise InvalidTemplate(message, location) from None


def _paths(node: nodes.Node, may_be_missing: bool) -> Iterator[tuple[str, bool]]:
    """Every path that a placeholder names, and whether it has a `default` for a missing value."""
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


def _unknown(kind: str, name: str, names: tuple[str, ...] | list[str]) -> str:
    return f'there is no {kind} "{name[:100]}"{did_you_mean_or_list(name, names)}'


def _shortened(value: Any) -> Any:
    match value:
        case str():
            return truncate(value, MAX_TEXT) if len(value) > MAX_TEXT // 2 else value
        case Mapping():
            return {key: _shortened(item) for key, item in value.items()}
        case list():
            return [_shortened(item) for item in value]
    return value


def _truncate_values(value: Any, depth: int = 0) -> Any:
    match value:
        case str():
            return truncate(value, 100)
        case Mapping():
            first = list(value.items())[:20] if depth < 3 else []
            return {truncate(key, 100): _truncate_values(item, depth + 1) for key, item in first}
        case list():
            return [_truncate_values(item, depth + 1) for item in value[:20]] if depth < 3 else []
    return value
