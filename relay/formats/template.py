"""`template`: the subscriber's own JSON body, with `{{ job.scenario.name }}` in its texts.

A text may hold placeholders of Jinja's syntax: a path, and filters (`| default("none")`, `| upper`, ...); nothing that
loops, calls, calculates or branches. A text that is one placeholder and nothing else becomes the value itself, null or
an object too; elsewhere null becomes nothing. Values stay within their text, as the body is made as a value and only
then written as JSON: no scenario's name can break out of it. Keys are kept as they are.

Two keys of the template itself are not sent: `$rejected_if` and `$accepted_if` say what in an answer means that the
receiver did not take the message (`answer_rules.py`).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import TemplateSyntaxError, nodes

from relay.errors import ValidationFailed
from relay.formats import answer_rules, standard
from relay.formats.flat import all_metadata
from relay.formats.message_text import describe_event
from relay.formats.sample_event import sample_event
from relay.formats.template_engine import FILTERS, compile_template, compiled_text, environment
from relay.formats.truncate import truncate
from relay.model import Event, EventType, Registration, to_rfc3339
from relay.suggestions import did_you_mean_or_list

NAME = "template"

Place = tuple[str | int, ...]
"""Where in a template: `("blocks", 0, "text")`."""

MOST_CHARACTERS = 32 * 1024
"""Of a template, written as JSON."""
MOST_PLACEHOLDERS = 100
"""Of a template, and of its filters: each takes its time to compile and to fill in."""
MOST_DEPTH = 20
MOST_TEXT = 10_000
"""UTF-16 units of each text that Exec or a registration brings."""

MOST_BODY = 256 * 1024
"""Characters of a body; where it has more, texts are cut to 100 units, lists and objects to their first 20 entries."""

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
    """`place` is where in the template: keys and numbers; `field` says it as one text."""

    def __init__(self, message: str, place: Place = ()) -> None:
        within = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        super().__init__("invalid_template", message, f"template{within}")
        self.place = place


def check(template: Any) -> str:
    """The template as it is kept. Raises InvalidTemplate that names the place and what to write instead."""
    if not isinstance(template, dict) or not answer_rules.without_rules(template):
        raise InvalidTemplate("a template is a JSON object, the body that is to be sent")
    for key in answer_rules.KEYS:
        if key in template and (fault := answer_rules.fault(template[key])):
            raise InvalidTemplate(fault, (key,))
    kept = json.dumps(template, ensure_ascii=False)
    if len(kept) > MOST_CHARACTERS:
        raise InvalidTemplate(f"a template has at most {MOST_CHARACTERS // 1024} KiB as JSON")
    if max(kept.count("{{"), kept.count("{%"), kept.count("|")) > MOST_PLACEHOLDERS:
        raise InvalidTemplate(f"a template has at most {MOST_PLACEHOLDERS} placeholders, and as many filters")
    try:
        for place, text in _texts(answer_rules.without_rules(template), ()):
            _check_text(text, place)
            _render_sample(text, place)
    except RecursionError:
        raise InvalidTemplate("a placeholder is nested too deep") from None
    return kept


def body(kept: str, event: Event, registration: Registration | None) -> Any:
    """The body that a checked template makes of an event."""
    known = context(event, registration)
    fill = compile_template(kept)
    filled = fill(known)
    if len(json.dumps(filled, ensure_ascii=False)) <= MOST_BODY:
        return filled
    # A large job in many places: what it says is cut, rather than kept back from everybody.
    return fill({name: _truncate_values(value) for name, value in known.items()})


def context(event: Event, registration: Registration | None) -> dict[str, Any]:
    """What placeholders can name."""
    said = describe_event(event)
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
        "page": said.page,
        "next_step": said.next_step,
        "requested_by": event.context.requested_by,
        "prompt": event.context.prompt,
        "metadata": all_metadata(event, registration),
        "test": event.context.test,
        "replaces": standard.replaces(event),
    }
    return {name: _shortened(value) for name, value in named.items() if value is not None}


def _texts(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Every text of a template that is a value, with its place."""
    if len(place) > MOST_DEPTH:
        raise InvalidTemplate(f"a template is at most {MOST_DEPTH} deep", place)
    match value:
        case str():
            yield place, value
        case Mapping():
            for key, item in value.items():
                yield from _texts(item, (*place, key))
        case list():
            for number, item in enumerate(value):
                yield from _texts(item, (*place, number))


def _check_text(text: str, place: Place) -> None:
    try:
        parsed = environment().parse(text)
    except TemplateSyntaxError as error:
        raise InvalidTemplate(f"this placeholder can't be read: {error.message}", place) from None
    except ValueError:  # Python's, for a number of thousands of digits
        raise InvalidTemplate("a number in this placeholder is too long", place) from None
    steps = sum(1 for _ in parsed.find_all((nodes.Getattr, nodes.Getitem, nodes.Filter)))
    if steps > MOST_PLACEHOLDERS:
        raise InvalidTemplate(f"a text has at most {MOST_PLACEHOLDERS} placeholders, filters and steps of paths", place)
    for node in parsed.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED) or (isinstance(node, nodes.Getattr | nodes.Getitem) and _path(node) is None):
            what = "a placeholder is a path and filters, such as {{ job.scenario.name | default('none') }}"
            raise InvalidTemplate(f"{what}; it can't calculate, loop, branch or call", place)
    for one in parsed.find_all(nodes.Filter):
        if one.name not in FILTERS:
            raise InvalidTemplate(_unknown("filter", one.name, FILTERS), place)
    for path, may_be_missing in _paths(parsed, False):
        below_metadata = path.startswith(("metadata.", "registration.metadata."))
        if path not in PATHS and not below_metadata and not (may_be_missing and path.startswith("job.")):
            raise InvalidTemplate(_unknown("placeholder", path, sorted(PATHS)), place)


def _render_sample(text: str, place: Place) -> None:
    """Fills in samples: the wrong argument of a filter only shows when it is called."""
    try:
        fill = compiled_text(text)
        for type in EventType:
            fill(context(sample_event(type, 0), None))
    except RecursionError:
        raise
    except Exception:
        what = "this placeholder can't be filled in; are the arguments of its filters right?"
        raise InvalidTemplate(what, place) from None


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
    return f'there is no {what} "{name[:100]}"{did_you_mean_or_list(name, known)}'


def _shortened(value: Any) -> Any:
    match value:
        case str():
            return truncate(value, MOST_TEXT) if len(value) > MOST_TEXT // 2 else value
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
            some = list(value.items())[:20] if depth < 3 else []
            return {truncate(key, 100): _truncate_values(item, depth + 1) for key, item in some}
        case list():
            return [_truncate_values(item, depth + 1) for item in value[:20]] if depth < 3 else []
    return value
