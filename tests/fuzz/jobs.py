"""A job as Exec might send it, laid out in every format."""

import json
from dataclasses import replace

from pydantic import ValidationError

from relay import formats
from relay.formats.sample_event import SAMPLE_JOB, sample_event
from relay.model import EventType, ScenarioJob
from tests.fuzz.target import Target


def parse(data: bytes) -> None:
    sent = json.loads(data)
    if not isinstance(sent, dict):
        raise ValueError("no job")
    job = ScenarioJob.model_validate({**sent, "id": "j1"})
    event = replace(sample_event(EventType.COMPLETED, 1_709_294_400_000), job=job.raw())
    for format in formats.FORMATS:
        json.loads(formats.render(format, event, None))


TARGET = Target(
    "jobs",
    parse,
    (ValueError, ValidationError, RecursionError),
    (
        json.dumps(SAMPLE_JOB).encode(),
        json.dumps({"status": "failed", "error": {"code": "X", "message": "<!here> @everyone *a*"}}).encode(),
        b'{"status": "completed", "scenario": {"name": "\\ud83d", "url": "javascript:alert(1)"}, "x": 1e400}',
    ),
)
