"""What the tools return: their fields are the output schemas that clients get."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from relay.client import CreatedJob, Job, Registration
from relay.client.results import job_of


class WaitedJob(BaseModel):
    """A job after a wait."""

    job_id: str
    ended: bool = Field(description="whether nothing more will come")
    timed_out: bool = Field(description="true if the job goes on: call wait_for_job again")
    status: str | None = Field(description="Exec's status; null before the first poll")
    state: str = Field(description="the relay's: active, settled, not_found, expired or withdrawn")
    scenario_url: str | None = Field(description="the scenario's URL, once the job completed")
    error: str | None = Field(description="why the job failed")
    advice: str = Field(description="what to do next")


class RegisteredJob(BaseModel):
    """A job that the relay watches."""

    job_id: str
    registration_id: str
    existed: bool = Field(description="true if an earlier call had made it, and nothing was created now")
    advice: str = Field(description="what to do next")


class ListedJob(BaseModel):
    job_id: str
    workspace: str
    state: str
    ended: bool
    status: str | None
    scenario_url: str | None


class JobPage(BaseModel):
    jobs: list[ListedJob]
    next_cursor: str | None


class ListedDelivery(BaseModel):
    id: str
    job_id: str
    event_type: str
    status: str
    attempts: int
    endpoint: str | None = Field(description="the endpoint's name, or its masked URL")
    reason: str | None = Field(description="why it failed or waits")


class DeliveryPage(BaseModel):
    deliveries: list[ListedDelivery]
    next_cursor: str | None


class Resent(BaseModel):
    delivery_id: str
    status: str


def waited(job: Job) -> WaitedJob:
    """The result of a wait."""
    return WaitedJob(
        job_id=job.job_id,
        ended=job.ended,
        timed_out=not job.ended,
        status=job.status,
        state=job.state,
        scenario_url=job.scenario_url,
        error=job.error,
        advice=_advice(job),
    )


def _advice(job: Job) -> str:
    if not job.ended:
        return "The job goes on. Call wait_for_job again with the same job_id; waiting costs nothing."
    if job.completed:
        return "The scenario is ready."
    return "The job ended without a scenario."


def registered(registration: Registration) -> RegisteredJob:
    """The result of a registration."""
    return RegisteredJob(
        job_id=registration.job_id,
        registration_id=registration.id,
        existed=not registration.is_new,
        advice="Call wait_for_job with this job_id.",
    )


def created(job: CreatedJob) -> RegisteredJob:
    """The result of creating a job."""
    result = registered(job.registration)
    text = "An earlier call had created this job; nothing was created now. " if result.existed else ""
    return result.model_copy(update={"advice": text + result.advice})


def job_page(page: Mapping[str, Any]) -> JobPage:
    """One page of jobs."""
    return JobPage(jobs=[_list_item(job_of(row)) for row in page["data"]], next_cursor=page["next_cursor"])


def _list_item(job: Job) -> ListedJob:
    return ListedJob(
        job_id=job.job_id,
        workspace=job.workspace,
        state=job.state,
        ended=job.ended,
        status=job.status,
        scenario_url=job.scenario_url,
    )


def delivery_page(page: Mapping[str, Any]) -> DeliveryPage:
    """One page of deliveries."""
    rows: Sequence[Mapping[str, Any]] = page["data"]
    deliveries = [
        ListedDelivery(
            id=row["id"],
            job_id=row["job_id"],
            event_type=row["event_type"],
            status=row["status"],
            attempts=row["attempts"],
            endpoint=row["endpoint"].get("name") or row["endpoint"].get("url"),
            reason=row["reason"],
        )
        for row in rows
    ]
    return DeliveryPage(deliveries=deliveries, next_cursor=page["next_cursor"])
