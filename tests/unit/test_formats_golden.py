"""What each receiver is sent for each event, held against golden files.

After a change that is meant, write them anew and read the difference:

    RELAY_WRITE_GOLDEN=1 pytest tests/unit/test_formats_golden.py && git diff tests/unit/golden
"""

import json
import os
from pathlib import Path

import pytest

from relay import formats
from relay.model import EventType
from tests.unit.format_samples import JOBS, REGISTRATION, event

GOLDEN = Path(__file__).parent / "golden"
CASES = [(format, type) for format in formats.FORMATS for type in EventType]


def golden(format: str, type: EventType) -> Path:
    return GOLDEN / format / f"{type.value.removeprefix('job.')}.json"


@pytest.mark.parametrize(("format", "type"), CASES)
def test_each_event_is_laid_out_as_its_golden_file_shows(format: str, type: EventType) -> None:
    """The body is the golden file's JSON, its keys in the same order, without a blank to spare."""
    body = formats.render(format, event(type, JOBS[type]), REGISTRATION)
    shown = json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"
    file = golden(format, type)
    if os.environ.get("RELAY_WRITE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(shown)
    assert shown == file.read_text()
    assert body == json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode()


def test_no_golden_file_is_left_over() -> None:
    """Every golden file belongs to a format and an event that there are."""
    assert sorted(GOLDEN.rglob("*.json")) == sorted(golden(*case) for case in CASES)


@pytest.mark.parametrize("format", formats.FORMATS)
def test_a_standing_endpoint_s_body_has_the_same_keys(format: str) -> None:
    """Without a registration nothing vanishes but what its metadata added."""
    with_one = json.loads(formats.render(format, event(EventType.COMPLETED, JOBS[EventType.COMPLETED]), REGISTRATION))
    without = json.loads(formats.render(format, event(EventType.COMPLETED, JOBS[EventType.COMPLETED]), None))
    assert [key for key in with_one if not key.startswith("metadata_")] == list(without)
