"""The event as one flat row of fields, for receivers without nested objects.

Every field is always there, null if Exec gave nothing, so that a field that a person has mapped never vanishes:

event               `job.completed`, ...
event_id            the same on every retry: what to deduplicate by
occurred_at         when it happened, RFC 3339
summary             the news in one line, for an e-mail or a text
job_id, job_status  Exec's job and its status as last seen
scenario_id, scenario_name, scenario_url        once the job completed; the URL only if it is http or https
error_code, error_message                       if the job failed
created_at, started_at, completed_at            as Exec wrote them
duration_seconds    a number
workspace           its name in the relay
registration_id     of the registration; null for a standing endpoint
requested_by        who wants the scenario: an e-mail address or a name
prompt              the beginning of the prompt, if the relay created the job
job_page            the URL of the job's page in the relay
test                true for a sample that somebody sent to try the endpoint
replaces            `job.not_found` or `job.expired`, if that was reported before and this is the real ending

A text that a spreadsheet would take for a formula begins with a word joiner, which is invisible: the next step of a Zap
or a workflow is often a new row. Ids, instants and URLs get no such character, because programs compare them: there the
signs that begin a formula go, and no real id has any. Nothing else of Exec's texts is changed here.
"""

import json
import math
import re
from typing import Any, TypeVar

from relay.formats.inert_text import WORD_JOINER, link
from relay.formats.message_text import describe_event, nested_object
from relay.model import Event, Registration, to_rfc3339

T = TypeVar("T")

PROSE = frozenset({"summary", "job_status", "scenario_name", "error_code", "error_message", "requested_by", "prompt"})
"""The fields that hold other people's words; the others are ids, URLs, instants and numbers."""


_FORMULA = re.compile(r"\s*[=@\uff1d\uff20]|[\t\r\n]|\s*[+\uff0b\uff0d-](?![\d\s().,/-]*$)")
"""What begins a formula (OWASP, CSV injection), also in full width. Numbers and telephone numbers with a sign are none.
"""


def flat_fields(event: Event, registration: Registration | None) -> dict[str, str | int | float | bool | None]:
    """The row, in the order above."""
    fields = _fields(event, registration).items()
    return {key: no_formula(value) if key in PROSE else _without_formula_signs(value) for key, value in fields}


def _fields(event: Event, registration: Registration | None) -> dict[str, str | int | float | bool | None]:
    job, scenario, error = event.job, nested_object(event.job, "scenario"), nested_object(event.job, "error")
    return {
        "event": event.type.value,
        "event_id": event.id,
        "occurred_at": to_rfc3339(event.occurred_at),
        "summary": describe_event(event).summary,
        "job_id": event.job_id if event.is_about_job else None,
        "job_status": scalar(job.get("status")),
        "scenario_id": scalar(scenario.get("id")),
        "scenario_name": scalar(scenario.get("name")),
        "scenario_url": link(scenario.get("url")),
        "error_code": scalar(error.get("code")),
        "error_message": scalar(error.get("message")),
        "created_at": scalar(job.get("created_at")),
        "started_at": scalar(job.get("started_at")),
        "completed_at": scalar(job.get("completed_at")),
        "duration_seconds": scalar(job.get("duration_seconds")),
        "workspace": event.workspace if event.is_about_job else scalar(job.get("workspace")),
        "registration_id": registration.id if registration else None,
        "requested_by": event.context.requested_by,
        "prompt": event.context.prompt,
        "job_page": link(event.context.page),
        "test": event.context.test,
        "replaces": event.replaces.type.value if event.replaces else None,
    }


def flat_metadata(event: Event, registration: Registration | None) -> dict[str, Any]:
    """The metadata of all registrations of the job as `metadata_KEY`; lists and objects as JSON text."""
    return {f"metadata_{key}": _flattened(value) for key, value in all_metadata(event, registration).items()}


def all_metadata(event: Event, registration: Registration | None) -> dict[str, Any]:
    """The metadata of all registrations of the job; of one key the endpoint's own registration has the last word."""
    return {**event.context.metadata, **(registration.metadata if registration else {})}


def no_formula(value: T) -> T | str:
    """The value; a text that would be a formula gets a word joiner before it."""
    is_formula = isinstance(value, str) and _FORMULA.match(value)
    return f"{WORD_JOINER}{value}" if is_formula else value  # guard: formulas


def _without_formula_signs(value: T) -> T | str:
    if not isinstance(value, str):
        return value
    text: str = value
    while sign := _FORMULA.match(text):
        text = text[sign.end() :]
    return text


def _flattened(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else no_formula(value)


def scalar(value: Any) -> str | int | float | bool | None:
    """The value, if it is a text, number or boolean that JSON can represent; else None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float)) else None
