"""A job that never was: what `test` sends, and what examples show."""

from typing import Any

SAMPLE_JOB: dict[str, Any] = {
    "id": "j1o2b3i4d5x6",
    "status": "completed",
    "scenario": {
        "id": "s1c2e3n4a5r6",
        "name": "Discovery Call with IT Director",
        "url": "https://acme-corp.app.exec.com/scenarios/discovery-call-it-director",
    },
    "error": None,
    "created_at": "2024-03-01T10:00:00Z",
    "started_at": "2024-03-01T10:00:05Z",
    "completed_at": "2024-03-01T10:00:45Z",
    "duration_seconds": 40,
}
"""The completed example of Exec's page 'Get Scenario job status'."""
