"""Exec's side: a job, as Exec's page 'Get Scenario job status' has it."""

from copy import deepcopy
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, PrivateAttr, model_validator

from relay.model.event import EventType
from relay.times import Instant, from_rfc3339

_ENDING_OF_STATUS = {
    "completed": EventType.COMPLETED,
    "failed": EventType.FAILED,
    "cancelled": EventType.CANCELLED,
}


def _text_or_none(sent: Any) -> Any:
    return sent if isinstance(sent, str) else None


def _number_or_none(sent: Any) -> Any:
    return sent if isinstance(sent, int | float) and not isinstance(sent, bool) else None


# An otherwise good job is not refused for a field that the relay only shows: of another type, it counts as absent.
_Text = Annotated[str | None, BeforeValidator(_text_or_none)]
_Number = Annotated[int | float | None, BeforeValidator(_number_or_none)]


class Scenario(BaseModel):
    """`scenario` of Exec's ScenarioJob, present only when the job completed."""

    model_config = ConfigDict(extra="allow", frozen=True)
    id: _Text = None
    name: _Text = None
    url: _Text = None


class JobError(BaseModel):
    """`error` of Exec's ScenarioJob, present only when the job failed; codes are an open set."""

    model_config = ConfigDict(extra="allow", frozen=True)
    code: _Text = None
    message: _Text = None


class ScenarioJob(BaseModel):
    """Exec's ScenarioJob (page 'Get Scenario job status'), fields unknown here kept.

    `status` is an open set: one never seen before is not terminal. Timestamps are kept as Exec wrote them;
    `created_at_ms`, `started_at_ms` and `ended_at_ms` are their instants, None where absent or nonsense. `id` and
    `status` are texts,
    `scenario` and `error` objects or null, or it is no job; any other field of the wrong type counts as absent.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    id: str
    status: str
    scenario: Scenario | None = None
    error: JobError | None = None
    created_at: _Text = None
    started_at: _Text = None
    completed_at: _Text = None
    duration_seconds: _Number = None
    _sent: dict[str, Any] | None = PrivateAttr(None)
    """What came, where a field of it counts as absent."""

    @model_validator(mode="wrap")
    @classmethod
    def _keep_what_counts_as_absent(cls, sent: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        job = handler(sent)
        plain = isinstance(sent, dict) and not any(isinstance(part, BaseModel) for part in sent.values())
        if plain and job.raw() != sent:
            job._sent = sent
        return job

    @property
    def created_at_ms(self) -> Instant | None:
        return from_rfc3339(self.created_at)

    @property
    def started_at_ms(self) -> Instant | None:
        return from_rfc3339(self.started_at)

    @property
    def ended_at_ms(self) -> Instant | None:
        return from_rfc3339(self.completed_at)

    @property
    def has_known_status(self) -> bool:
        """Whether Exec's page names this status."""
        return self.status in _ENDING_OF_STATUS or self.status in ("queued", "processing")

    @property
    def final_event(self) -> EventType | None:
        """The event that this status means, None while the job is still going on."""
        return _ENDING_OF_STATUS.get(self.status)

    def raw(self) -> dict[str, Any]:
        """The JSON object that came, with nothing added, dropped or renamed."""
        return self.model_dump(mode="json", exclude_unset=True) if self._sent is None else deepcopy(self._sent)
