"""Labels of metrics: words that dashboards and alerts rely on."""

import pytest

from relay.model import ScenarioJob
from relay.model.create_result import CreateJobResult, JobCreated, JobCreationUnknown, JobRejected
from relay.telemetry import Telemetry


@pytest.mark.parametrize(
    ("result", "label"),
    [
        (JobCreated(ScenarioJob(id="job_1", status="queued")), "created"),
        (JobRejected(422, "invalid", "no such scenario"), "rejected"),
        (JobCreationUnknown("timeout", "no complete answer within 10 s"), "unknown"),
    ],
)
def test_outcome_of_job_creation_is_a_word_and_not_a_class_name(result: CreateJobResult, label: str) -> None:
    """The counter has the workspace and the outcome as labels."""
    telemetry = Telemetry()
    telemetry.job_creation_done("default", result)
    line = f'relay_jobs_created_total{{outcome="{label}",workspace="default"}} 1.0'
    assert line in telemetry.metrics.prometheus_text().decode().splitlines()
