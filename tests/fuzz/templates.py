"""A subscriber's own body: checked, kept, and filled with a hostile job."""

import json
from dataclasses import replace

from relay.errors import ValidationFailed
from relay.formats import template
from relay.formats.sample_event import SAMPLE_JOB, sample_event
from relay.model import EventType
from tests.fuzz.target import Target, text_of

HOSTILE = {"id": '"}', "name": '{{ job.id }} "} \\', "url": None}
EVENTS = [
    replace(sample_event(EventType.COMPLETED, 1_709_294_400_000), job=SAMPLE_JOB | changes)
    for changes in ({}, {"scenario": HOSTILE}, {"scenario": None, "id": "j1"})
]


def parse(data: bytes) -> None:
    text = text_of(data)
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        wanted = {"text": text, "list": [text]}
    kept = template.check(wanted)
    for event in EVENTS:
        made = template.body(kept, event, None)
        assert set(made) == set(wanted)


TARGET = Target(
    "templates",
    parse,
    (ValidationFailed,),
    (
        b'{"text": "{{ job.scenario.name | default(\'none\') }} is done", "id": "{{ job.id }}"}',
        b"{{ headline | truncate(5) | upper }}",
        b"{{ job.error.code }}{% for a in b %}",
        b"{{ ''.__class__ }}",
        b"{{ registration.metadata.x[0] | default(1, true) | trim('a') }}",
        b"{{ job.id | truncate('a') }}",
        b"{{ job.id | truncate(-1, true, 'x' , 5) }}",
        b"{{ job['id'] }} {# a #} {{",
        b"{{ " + b"(" * 3_000,
        b"{{ job.id " + b"| upper " * 1_000 + b"}}",
    ),
    longest=32 * 1024,
)
