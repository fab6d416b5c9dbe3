"""What each receiver is sent for each event, held against golden files.

After a change that is meant, regenerate them and read the difference:

    RELAY_WRITE_GOLDEN=1 pytest tests/unit/formats/test_formats_golden.py && git diff tests/unit/golden
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay import formats
from relay.formats import template
from relay.model import Event, EventType
from tests.unit.formats.format_samples import CONTEXT, JOB_ID, JOBS, REGISTRATION, digest, event, many

GOLDEN = Path(__file__).parents[1] / "golden"
TEMPLATE = template.check(
    {
        "text": "{{ headline }} ({{ job.id }})",
        "detail": "{{ detail | default('nothing more to say') }}",
        "blocks": [{"scenario": "{{ job.scenario }}"}, {"took": "{{ job.duration_seconds }}", "url": "{{ link }}"}],
        "code": "error: {{ job.error.code | default('none') | upper }}",
        "course": "{{ registration.metadata.course }}",
        "fixed": [1, True, None, "{curly} {{ '{{' }}"],
    }
)
ODD: dict[str, Any] = {
    "id": JOB_ID,
    "status": "completed",
    "scenario": {
        "id": None,
        "name": "🎭👩🏽‍🚀 <@here> & <b>bold</b> *x* שלום עולם {{ job.id }} " + "long name " * 60 + '\u0000\n"',
        "url": 'https://acme-corp.app.exec.com/scenarios/a?b=<c>&d="e"',
    },
    "error": None,
    "created_at": None,
    "started_at": "not a time",
    "completed_at": None,
    "duration_seconds": None,
}
"""Everything that other people's words may hold, and nulls."""
ODD_FAILURE: dict[str, Any] = ODD | {
    "status": "failed",
    "scenario": None,
    "error": {"code": None, "message": "<!channel> @everyone ‮gnp‬ " + "why " * 500},
}
ODD_STATUS = "waits <@here> & <!channel> @everyone שלום 🎭 " * 9
ODD_REGISTRATION = replace(
    REGISTRATION,
    metadata={
        "course": "🎭 <@here> & <b>שלום</b> " * 20,
        "<@here> & שלום": None,
        "tags": [None, "\u202egnp", {"a": "&"}],
    },
)
ODD_CONTEXT = replace(
    CONTEXT,
    metadata={**ODD_REGISTRATION.metadata, "[x](http://evil.example)": "<!channel> `*_~ &lt;!here&gt;", "seats": 12},
    requested_by="<@U123>\n[Jane](http://evil.example) @here",
    prompt="<!here> *long* " * 40,
)
CASES = [(format, type.value) for format in formats.NAMES for type in EventType]
ODD_CASES = {
    "job.completed-odd": (EventType.COMPLETED, ODD),
    "job.failed-odd": (EventType.FAILED, ODD_FAILURE),
    "job.cancelled-odd": (EventType.CANCELLED, ODD | {"status": "cancelled"}),
    "job.not_found-odd": (EventType.NOT_FOUND, ODD | {"status": None}),
    "job.expired-odd": (EventType.EXPIRED, ODD | {"status": ODD_STATUS}),
}
CASES += [(format, name) for format in formats.NAMES for name in ODD_CASES]
DIGESTS = {
    "digest": digest(
        [
            *many(500),
            event(EventType.CANCELLED, JOBS[EventType.CANCELLED], context=CONTEXT),
            event(EventType.STARTED, JOBS[EventType.STARTED]),
        ]
    ),
    "digest-odd": digest([event(EventType.CANCELLED, ODD, context=ODD_CONTEXT), event(EventType.STARTED, ODD)]),
}
READ_BY_PEOPLE = [format for format in formats.NAMES if formats.is_read_by_people(format)]
CASES += [(format, name) for format in READ_BY_PEOPLE for name in DIGESTS]


def golden(format: str, case: str) -> Path:
    return GOLDEN / format / f"{case.removeprefix('job.')}.json"


def sample(case: str) -> Event:
    """The event of a case."""
    if case in DIGESTS:
        return DIGESTS[case]
    if case in ODD_CASES:
        return event(*ODD_CASES[case], context=ODD_CONTEXT)
    return event(EventType(case), JOBS[EventType(case)], context=CONTEXT)


def render(format: str, case: str) -> bytes:
    own = TEMPLATE if format == template.NAME else None
    return formats.render(format, sample(case), ODD_REGISTRATION if case in ODD_CASES else REGISTRATION, own)


@pytest.mark.parametrize(("format", "case"), CASES)
def test_bodies_equal_their_golden_files(format: str, case: str) -> None:
    """The body is the golden file's JSON, its keys in the same order, compact."""
    body = render(format, case)
    shown = json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"
    file = golden(format, case)
    if os.environ.get("RELAY_WRITE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(shown)
    assert shown == file.read_text()
    assert body == json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode()


def test_every_golden_file_is_used() -> None:
    """Every golden file belongs to an existing format and event."""
    assert sorted(GOLDEN.rglob("*.json")) == sorted(golden(*case) for case in CASES)


@pytest.mark.parametrize("format", formats.FORMATS)
def test_the_body_of_a_standing_endpoint_has_the_same_keys(format: str) -> None:
    """Without a registration only the keys of its metadata are missing."""
    with_one = json.loads(formats.render(format, event(EventType.COMPLETED, JOBS[EventType.COMPLETED]), REGISTRATION))
    without = json.loads(formats.render(format, event(EventType.COMPLETED, JOBS[EventType.COMPLETED]), None))
    assert [key for key in with_one if not key.startswith("metadata_")] == list(without)
