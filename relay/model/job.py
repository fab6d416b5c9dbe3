"""Exec's job, as its page 'Get Scenario job status' describes it."""

from copy import deepcopy
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, PrivateAttr, model_validator

from relay.model.event import EventType
from relay.times import Instant, from_rfc3339

_FINAL_EVENT_OF_STATUS = {
    "completed": EventType.COMPLETED,
    "failed": EventType.FAILED,
    "cancelled": EventType.CANCELLED,
}


def _text_or_none(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _number_or_none(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _object_or_none(value: Any) -> Any:
    return value if isinstance(value, dict | BaseModel) else None


def _error_or_none(value: Any) -> Any:
    """Exec's page says an object; a text can only be the message."""
    return {"message": value} if isinstance(value, str) and value else _object_or_none(value)


# A field that the relay only shows does not make a job invalid: with the wrong type it counts as absent.
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
    """Exec's ScenarioJob (page 'Get Scenario job status'), with all unknown fields.

    `status` is an open set: an unknown one is not terminal. Timestamps stay as Exec wrote them; `created_at_ms`,
    `started_at_ms` and `ended_at_ms` are their instants, None if absent or unreadable. `id` and `status` must be texts;
    any other field of the wrong type counts as absent (an `error` that is a text counts as its message), so that the
    end of a job is never missed for a side field.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    id: str
    status: str
    scenario: Annotated[Scenario | None, BeforeValidator(_object_or_none)] = None
    error: Annotated[JobError | None, BeforeValidator(_error_or_none)] = None
    created_at: _Text = None
    started_at: _Text = None
    completed_at: _Text = None
    duration_seconds: _Number = None
    _received: dict[str, Any] | None = PrivateAttr(None)
    """The JSON object that was received, if one of its fields counts as absent."""

    @model_validator(mode="wrap")
    @classmethod
    def _keep_absent_fields(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        job = handler(value)
        is_decoded = isinstance(value, dict) and not any(isinstance(part, BaseModel) for part in value.values())
        if is_decoded and job.raw() != value:
            job._received = value
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
        return self.status in _FINAL_EVENT_OF_STATUS or self.status in ("queued", "processing")

    @property
    def final_event(self) -> EventType | None:
        """The event of this status; None while the job is running."""
        return _FINAL_EVENT_OF_STATUS.get(self.status)

    @property
    def mistyped_fields(self) -> tuple[str, ...]:
        """Names (`scenario.url`) of the fields that have another type than Exec's page says, in Exec's order."""
        if self._received is None:
            return ()
        return tuple(_differing_fields(self._received, self.model_dump(mode="json", exclude_unset=True)))

    def raw(self) -> dict[str, Any]:
        """The JSON object that was received: nothing is added, dropped or renamed."""
        return self.model_dump(mode="json", exclude_unset=True) if self._received is None else deepcopy(self._received)


def _differing_fields(received: dict[str, Any], read: dict[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, value in received.items():
        if value == read.get(name):
            continue
        if isinstance(value, dict) and isinstance(inner := read.get(name), dict):
            names += _differing_fields(value, inner, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
