"""The format `template`: validated when it is created; no value breaks out of it."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import formats
from relay.errors import ValidationFailed
from relay.formats import template
from relay.formats.sample_event import sample_event
from relay.formats.template_engine import CACHE_SIZE, _text_or_as_written, compile_template
from relay.model import EventType
from tests.unit.formats.format_samples import COMPLETED, JOBS, REGISTRATION, event

DONE = event(EventType.COMPLETED, COMPLETED)


def made(text: Any, job: dict[str, Any] | None = None, registered: bool = True) -> Any:
    """The body of a completed job by a template with this single text."""
    kept = template.check({"x": text})
    about = DONE if job is None else event(EventType.COMPLETED, job)
    return json.loads(formats.render("template", about, REGISTRATION if registered else None, kept))["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ job.scenario.name }}", "Discovery Call with IT Director"),
        ("{{ job['scenario']['name'] }}", "Discovery Call with IT Director"),
        ("{{ job.scenario.name | upper }}!", "DISCOVERY CALL WITH IT DIRECTOR!"),
        ("{{ job.duration_seconds }}", 40),
        ("{{ job.duration_seconds }} s", "40 s"),
        ("{{ job.error }}", None),
        ("[{{ job.error.message }}]", "[]"),
        ("{{ job.error.message | default('fine') }}", "fine"),
        ("{{ registration.metadata.tags }}", ["it", "é"]),
        ("tags {{ registration.metadata.tags }}", 'tags ["it", "é"]'),
        ("{{ registration.metadata.tags[1] }}", "é"),
        ("{{ registration.metadata.nothing.here }}", None),
        ("{{ job.not_yet_known | default('?') }}", "?"),
        ("no placeholder { } at all", "no placeholder { } at all"),
        ("{{ '{{' }}", "{{"),
        (7, 7),
    ],
)
def test_values_of_placeholders(text: Any, value: Any) -> None:
    """A single placeholder becomes the value itself; within a text, its text; null nothing."""
    assert made(text) == value


def test_without_a_registration_its_placeholders_are_empty() -> None:
    """A standing endpoint gets jobs without a registration."""
    assert made("{{ registration.metadata.course }}", registered=False) is None
    assert made("for {{ registration.metadata.course }}", registered=False) == "for "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ job.scenario.nam }}", 'did you mean "job.scenario.name"?'),
        ("{{ jbo.id }}", 'did you mean "job.id"?'),
        ("{{ nowhere | default('x') }}", "there is no placeholder"),
        ("{{ job.id | uper }}", 'did you mean "upper"?'),
        ("{{ job.id", "can't be read"),
        ("{{ 1 + 1 }}", "it can't calculate"),
        ("{{ 'a' * 1000000000 }}", "it can't calculate"),
        ("{% for x in job %}x{% endfor %}", "it can't calculate, loop"),
        ("{% set x = 1 %}", "it can't calculate"),
        ("{{ job.id if job.id else 1 }}", "branch or call"),
        ("{{ job.keys() }}", "branch or call"),
        ("{{ job.__class__ }}", "there is no placeholder"),
        ("{{ ''.__class__.__mro__ }}", "a placeholder is a path"),
        ("{{ job[registration.id] }}", "a placeholder is a path"),
        ("{% include 'x' %}", "it can't calculate"),
        ("{{ range(9) }}", "branch or call"),
    ],
)
def test_invalid_templates_are_refused(text: str, said: str) -> None:
    """With the location and the nearest valid name."""
    with pytest.raises(ValidationFailed, match=re.escape(said)) as raised:
        template.check({"blocks": [{"text": "fine"}, {"text": text}]})
    assert raised.value.field == "template.blocks[1].text"


def test_a_template_is_an_object_of_bounded_size() -> None:
    """And of bounded depth."""
    deep: Any = "x"
    for _ in range(30):
        deep = {"x": deep}
    wrong: list[Any] = [[], {}, "text", None, 1, {"x": "y" * 40_000}, deep]
    for one in wrong:
        with pytest.raises(ValidationFailed):
            template.check(one)


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_value_breaks_out_of_its_text(name: str, message: str) -> None:
    """For any text from Exec, placeholders and quotes too, the body is the same JSON with that text in place."""
    job = COMPLETED | {"scenario": {"id": "s", "name": name, "url": None}, "error": {"code": None, "message": message}}
    kept = template.check({"name": "{{ job.scenario.name }}", "text": "a {{ job.error.message }} b", "last": 1})
    mended = json.loads(formats.render("template", event(EventType.COMPLETED, job), None, kept))
    assert mended == {"name": name, "text": f"a {message} b", "last": 1}


ANY = st.recursive(
    st.none() | st.booleans() | st.text(max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
)


@given(ANY)
def test_any_json_is_refused_or_a_valid_template(value: Any) -> None:
    """A valid template makes a body of every event."""
    try:
        kept = template.check(value)
    except ValidationFailed:
        return
    for type in EventType:
        assert isinstance(template.body(kept, event(type, JOBS[type]), None), dict)


SIGNS = ["{{", "}}", "{%", "%}", "{#", "#}", " job", ".id", "|", " default", "('x')", "[", "]", "'", "x", "-", "\n"]


@given(st.lists(st.sampled_from(SIGNS), max_size=12))
def test_any_placeholder_is_refused_or_filled_in(parts: list[str]) -> None:
    """Jinja's own characters in any order, and never another error."""
    try:
        kept = template.check({"x": "".join(parts)})
    except ValidationFailed:
        return
    template.body(kept, DONE, None)


def test_long_texts_are_cut() -> None:
    """A text of a megabyte from Exec does not make a body of many."""
    job = COMPLETED | {"scenario": {"id": "s", "name": "x" * 900_000, "url": None}}
    assert len(made("{{ job.scenario.name }}{{ job.scenario.name }}", job)) <= 2 * template.MAX_TEXT


@pytest.mark.parametrize(
    "text",
    [
        "{{ job.id | truncate('a') }}",
        "{{ job.id | default(1, 2, 3) }}",
        "{{ " + "(" * 3_000,
        "{{ job.id" + " | upper" * 999 + " }}",
    ],
    ids=["a wrong argument", "too many arguments", "brackets without end", "filters without end"],
)
def test_placeholders_that_fail_for_a_sample_are_refused(text: str) -> None:
    """An error that would only show with an event shows at once."""
    with pytest.raises(ValidationFailed) as refused:
        template.check({"text": text})
    assert refused.value.code == "invalid_template"


@pytest.mark.parametrize(
    "text", ["{{ DIGITS }}", "{{ registration.metadata[DIGITS] }}", "{{ headline | truncate(DIGITS) }}"]
)
def test_a_number_of_thousands_of_digits_is_refused(text: str) -> None:
    """Python makes no integer of it, and raises."""
    with pytest.raises(ValidationFailed, match="a number in this placeholder is too long"):
        template.check({"text": text.replace("DIGITS", "9" * 4_301)})


@pytest.mark.parametrize(
    "text",
    [
        "{{ job.id" + " | upper" * 200 + " }}",
        "{{ job.id }}" * 101,
        "{{ registration.metadata" + "['a']" * 500 + " }}",
        "{{ registration.metadata" + ".a" * 101 + " }}",
    ],
)
def test_placeholders_and_filters_are_bounded(text: str) -> None:
    """A few KiB of filters took seconds to fill in; templates that people write have a handful."""
    with pytest.raises(ValidationFailed, match="at most 100 placeholders"):
        template.check({"text": text})
    assert template.check({"text": "{{ job.id }}" * 100})


def test_a_failing_filter_leaves_its_text_as_written() -> None:
    """Values that do not fit a filter block no event."""
    kept = '{"text": "{{ job.duration_seconds | truncate(5) }}", "id": "{{ job.id }}"}'
    event = replace(sample_event(EventType.COMPLETED, 0), job={"id": "j1", "duration_seconds": 123456789})
    assert template.body(kept, event, None) == {"text": "{{ job.duration_seconds | truncate(5) }}", "id": "j1"}


def test_a_template_is_compiled_once() -> None:
    """For any number of events; the most recently used templates stay compiled."""
    kept = template.check({"text": "compiled once: {{ job.id }}"})
    before = compile_template.cache_info().misses
    for type in EventType:
        assert template.body(kept, event(type, JOBS[type]), None) == {"text": f"compiled once: {COMPLETED['id']}"}
    assert compile_template.cache_info().misses == before + 1
    for number in range(CACHE_SIZE + 1):
        compile_template(json.dumps({"text": f"{number} {{{{ job.id }}}}"}))
    assert compile_template.cache_info().currsize == CACHE_SIZE


def test_a_hundred_templates_are_compiled_once() -> None:
    """Their placeholders stay compiled when they outnumber the templates in memory: no event compiles them again."""
    many = [
        template.check({f"key{n}": f"{number}.{n} {{{{ headline }}}}" for n in range(10)})
        for number in range(CACHE_SIZE + 36)
    ]
    for body in many:
        compile_template(body)
    before = _text_or_as_written.cache_info().misses
    for body in many:
        compile_template(body)
    assert _text_or_as_written.cache_info().misses == before


def test_a_large_job_named_many_times_makes_no_large_body() -> None:
    """A hundred times a job of a megabyte is cut."""
    large = COMPLETED | {"more": ["x" * 5_000 for _ in range(200)]}
    kept = template.check({f"k{number}": "{{ job }}" for number in range(100)})
    body = formats.render("template", event(EventType.COMPLETED, large), REGISTRATION, kept)
    assert len(body) < 4 * template.MAX_BODY
    assert json.loads(body)["k0"]["id"] == COMPLETED["id"]
