"""Response rules of a template: validated when it is created, applied to each 2xx."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import formats
from relay.egress import HttpResponse
from relay.formats import template
from relay.formats.sample_event import sample_event
from relay.formats.template import InvalidTemplate
from relay.model import EventType


def rejected(rules: dict[str, Any], body: bytes, status: int = 200, body_error: str | None = None) -> bool:
    kept = template.check({"text": "x", **rules})
    return formats.rejection("template", HttpResponse(status, {}, body, body_error), kept) is not None


@pytest.mark.parametrize(
    ("rules", "body", "no"),
    [
        ({"$rejected_if": {"ok": False}}, b'{"ok": false, "error": "channel_not_found"}', True),
        ({"$rejected_if": {"ok": False}}, b'{"ok": true}', False),
        ({"$rejected_if": {"ok": False}}, b'{"ok": 0}', False),
        ({"$rejected_if": {"ok": False}}, b"", False),
        ({"$rejected_if": {"ok": False}}, b"ok", False),
        ({"$rejected_if": {"code": [9499, 19024]}}, b'{"code": 19024}', True),
        ({"$rejected_if": {"error.code": "bad"}}, b'{"error": {"code": "bad"}}', True),
        ({"$rejected_if": {"error.code": "bad"}}, b'{"error": "bad"}', False),
        ({"$accepted_if": {"code": 0}}, b'{"code": 0}', False),
        ({"$accepted_if": {"code": 0}}, b'{"code": 9499, "msg": "Bad Request"}', True),
        ({"$accepted_if": {"code": 0}}, b'{"code": false}', True),
        ({"$accepted_if": {"code": 0}}, b"<html>", True),
        ({"$accepted_if": {"code": [0, None]}}, b'{"code": null}', False),
        ({"$accepted_if": {"code": 0, "ok": True}}, b'{"code": 0}', True),
        ({"$accepted_if": {"code": 0}, "$rejected_if": {"warn": "x"}}, b'{"code": 0, "warn": "x"}', True),
        ({}, b'{"ok": false}', False),
    ],
)
def test_responses_are_classified_by_the_rules(rules: dict[str, Any], body: bytes, no: bool) -> None:
    """By path, value and type; a missing field of `$accepted_if` is a rejection."""
    assert rejected(rules, body) is no


def test_rules_apply_to_complete_2xx_responses_only() -> None:
    """Another status has its own meaning, and an incomplete body proves nothing."""
    assert not rejected({"$accepted_if": {"code": 0}}, b"", status=500)
    assert not rejected({"$accepted_if": {"code": 0}}, b'{"co', body_error="cut short")


def test_the_rules_are_not_sent() -> None:
    """Only the rest of the template is the body."""
    kept = template.check({"text": "{{ summary }}", "$rejected_if": {"ok": False}, "$accepted_if": {"a": 1}})
    body = json.loads(formats.render("template", sample_event(EventType.COMPLETED, 0), None, kept))
    assert list(body) == ["text"]


@pytest.mark.parametrize(
    "rules",
    [
        {"$rejected_if": "ok"},
        {"$rejected_if": {}},
        {"$rejected_if": []},
        {"$rejected_if": {"": 1}},
        {"$rejected_if": {"a..b": 1}},
        {"$rejected_if": {"a": {"b": 1}}},
        {"$accepted_if": {"a": [[1]]}},
        {"$accepted_if": {"a" * 300: 1}},
        {"$accepted_if": {f"a{n}": 1 for n in range(30)}},
    ],
)
def test_invalid_rules_are_refused_by_name(rules: dict[str, Any]) -> None:
    """The error names the key, and how to write a rule."""
    with pytest.raises(InvalidTemplate) as refused:
        template.check({"text": "x", **rules})
    assert refused.value.field == f"template.{next(iter(rules))}"


def test_rules_alone_are_no_template() -> None:
    """There has to be a body."""
    with pytest.raises(InvalidTemplate):
        template.check({"$rejected_if": {"ok": False}})


@given(st.binary(max_size=100))
def test_no_answer_makes_the_rules_fail(body: bytes) -> None:
    """Whatever a receiver answers, judging it raises nothing."""
    rejected({"$accepted_if": {"a.b": 1}, "$rejected_if": {"a": None}}, body)
