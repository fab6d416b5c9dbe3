"""News about the relay in every format, and which events an endpoint gets by default."""

import json

import pytest

from relay import formats
from relay.formats.flat import flat_fields
from relay.formats.standard import body
from relay.model import ENDINGS_AT_EXEC, FINAL_EVENTS, OPERATOR_WORKSPACE, Event, OperatorEventType
from relay.web.schemas.webhooks import OPERATOR_EVENT_DESCRIPTIONS

MESSAGE = "endpoint ops is disabled: 410 Gone <!channel>"


def news(type: OperatorEventType) -> Event:
    details = {"message": MESSAGE, "workspace": None, "endpoint": {"id": "ep_1", "name": "ops"}}
    return Event(
        id="evt_1",
        workspace=OPERATOR_WORKSPACE,
        job_id="endpoint:ep_1",
        type=type,
        occurred_at=0,
        job=details,
        created_at=0,
    )


@pytest.mark.parametrize("type", list(OperatorEventType))
@pytest.mark.parametrize("format", list(formats.FORMATS))
def test_every_format_carries_the_message(format: str, type: OperatorEventType) -> None:
    """In words; nothing in it pings anybody."""
    text = json.dumps(json.loads(formats.render(format, news(type), None)), ensure_ascii=False)
    assert "endpoint ops is disabled: 410 Gone" in text
    assert format == "standard" or "<!channel>" not in text


def test_standard_has_the_details_as_fields() -> None:
    """No job: `data` is the news itself."""
    event = news(OperatorEventType.ENDPOINT_DISABLED)
    assert body(event, None) == {
        "type": "endpoint.disabled",
        "timestamp": "1970-01-01T00:00:00.000Z",
        "data": dict(event.job),
    }


def test_flat_fields_name_no_job() -> None:
    """The row has the same fields as always; those of a job are null."""
    fields = flat_fields(news(OperatorEventType.ENDPOINT_DISABLED), None)
    assert (fields["event"], fields["job_id"], fields["workspace"]) == ("endpoint.disabled", None, None)


@pytest.mark.parametrize("format", formats.NAMES)
def test_chats_get_the_jobs_own_endings_by_default(format: str) -> None:
    """`job.not_found` and `job.expired` go to programs, and to chats only if they ask for them."""
    is_chat = format not in ("standard", "zapier", "template")
    assert formats.default_events(format) == (ENDINGS_AT_EXEC if is_chat else FINAL_EVENTS)


def test_every_operator_event_is_described() -> None:
    """In the reference."""
    assert set(OPERATOR_EVENT_DESCRIPTIONS) == set(OperatorEventType)
