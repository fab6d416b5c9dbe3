"""Writes the page of events and payloads, from the golden files of the formats' tests."""

import json
from pathlib import Path
from typing import Any

from docs.generating.tables import code, table
from relay.formats.template_engine import FILTERS
from relay.model import FINAL_EVENTS, EventType
from relay.web.schemas.webhooks import EVENT_DESCRIPTIONS, OPERATOR_EVENT_DESCRIPTIONS, Notification

GOLDEN = Path(__file__).parents[2] / "tests/unit/golden"

RECEIVERS = {
    "standard": "everything else: your programs, n8n, Make, Pipedream, ...",
    "slack": "`hooks.slack.com/services/`, `hooks.slack-gov.com/services/`",
    "slack_app": "`slack.com/api/chat.postMessage`, `slack-gov.com/api/chat.postMessage`",
    "slack_workflow": "`hooks.slack.com/triggers/`, `/workflows/`",
    "zapier": "`hooks.zapier.com/hooks/catch/`, `/hooks/standard/`",
    "discord": "`discord.com/api/webhooks/`, `discordapp.com`",
    "teams": "`*.logic.azure.com`, `*.powerplatform.com`",
    "google_chat": "`chat.googleapis.com/v1/spaces/`",
    "mattermost": "`mattermost.*/hooks/`, `*.cloud.mattermost.com/hooks/`",
    "rocketchat": "`rocketchat.*/hooks/`, `*.rocket.chat/hooks/`",
    "ntfy": "`ntfy.sh/TOPIC`, `ntfy.*/TOPIC`",
    "email": "a mail server's URL, of the scheme smtp or smtps",
    "telegram": "`api.telegram.org/bot`",
}


def page() -> str:
    """The page: the events, the formats, and a body of each."""
    events = [
        [f"`{type.value}`", "yes" if type in FINAL_EVENTS else "no", EVENT_DESCRIPTIONS[type]] for type in EventType
    ]
    names = [*(name for name in RECEIVERS if (GOLDEN / name).is_dir()), *_others()]
    formats = [[f"`{name}`", RECEIVERS.get(name, "only if named")] for name in names]
    parts = [_HEAD, table(["event", "by default", "meaning"], events)]
    parts += [_FORMATS, table(["format", "chosen for"], formats)]
    parts += ["\n## The body of each\n\n### standard\n", _STANDARD, code(json.dumps(_schema(), indent=2), "json")]
    parts += [f"`job.{path.stem}`:\n\n{_body(path)}" for path in _bodies("standard")]
    for name in [name for name in names[1:] if name != "template"]:
        shown = [path for path in _bodies(name) if path.stem in ("completed", "failed")]
        parts += [f"\n### {name}\n", *(f"`job.{path.stem}`:\n\n{_body(path)}" for path in shown)]
    parts.append(_DIGEST)
    news = [[f"`{type.value}`", text] for type, text in OPERATOR_EVENT_DESCRIPTIONS.items()]
    parts += [_OPERATOR, table(["event", "meaning"], news), code(json.dumps(_OPERATOR_BODY, indent=2), "json")]
    return "\n".join([*parts, _TEMPLATE.replace("FILTERS", ", ".join(f"`{name}`" for name in FILTERS))])


_OPERATOR_BODY = {
    "type": "exec.key_refused",
    "timestamp": "2026-01-07T09:00:00Z",
    "data": {
        "message": "workspace default: Exec refuses the API key: 401, Invalid or inactive API key. Its jobs are not "
        "polled; one poll every 5 minutes tries the key. Check exec.api_key",
        "workspace": "default",
        "endpoint": None,
    },
}

_DIGEST = """
## A digest

A chat or a mailbox whose endpoint has a [digest](../concepts/delivery.md#digest-quiet-hours-and-fallback) gets one
message for many events. It is the event `jobs.digest` in the deliveries: its `workspace` is empty, its `job_id` names
no job. It counts the events, and has a line for each of the first 20 (in a mail 200). A workflow of Slack gets them as
`summary`, and the page that lists all as `job_page`.
"""

_OPERATOR = """
## News about the relay

The endpoints that `operator.endpoints` names get news about the relay itself, in any format. News are signed, retried
and stored like the events of jobs. News about an endpoint are stored together with the change, and news about Exec
with the poll that shows it, so that a crash loses none; if one keeps back news about the budget, the next run sends
them. All relays on a store together send the same news about the same
subject at most once an hour; `operator.max_per_hour` limits all news, and a recovery is always sent. The log has every
one. An endpoint with `events: []` gets nothing else. `data` has `message`, a sentence for people, and the `workspace`
or the `endpoint` (`id`, `name`) that the news is about; the other one is null.
"""


def _schema() -> dict[str, Any]:
    return Notification.model_json_schema(mode="serialization")


def _others() -> list[str]:
    return sorted({path.name for path in GOLDEN.iterdir()} - set(RECEIVERS))


def _bodies(format: str) -> list[Path]:
    """The bodies of the events of a job, without those of odd texts, which have `-` in their names."""
    order = [type.value.removeprefix("job.") for type in EventType]
    plain = [path for path in (GOLDEN / format).glob("*.json") if "-" not in path.stem and path.stem != "digest"]
    return sorted(plain, key=lambda path: order.index(path.stem))


def _body(path: Path) -> str:
    return code(json.dumps(json.loads(path.read_text()), ensure_ascii=False, indent=2), "json")


_HEAD = """\
# Events and payloads

An event is a fact about a job. Its id is the `webhook-id` of every request that reports it.
"""
_FORMATS = """
## Formats

`format: auto`, the default, chooses the format by the URL's host and path. Any format can be named, for any URL.
"""
_TEMPLATE = """
### template

A body of your own: an object in `template` of a standing endpoint, in the configuration or through the API. Its texts
may contain placeholders in Jinja's syntax:

```json
{"text": "{{ headline }}", "took": "{{ job.duration_seconds }}", "team": "{{ registration.metadata.team }}"}
```

`{{ job.error.code | default('none') }}` gives a value to use for null. A text that consists of one placeholder becomes
the value itself, also a number or an object; within a longer text null becomes nothing. Filters: FILTERS. Nothing else
of Jinja works: no loops, no calls, no arithmetic.

The names are `type`, `timestamp`, `workspace`; the texts for chats, `headline`, `summary`, `detail`, `next_step`,
`link` and `page`; `requested_by`, `prompt` and `metadata`, with everything in it; `test`; `job` with Exec's fields,
such as `job.scenario.name` and `job.error.message`; `registration.id` and `registration.metadata`, with everything in
it; and `replaces.type`, if the event replaces one of the relay's own. The relay refuses an unknown name when the
endpoint is created, and suggests the closest right one; a name that Exec may add later needs a `default`. [How to use
it](../how-to/template.md).
"""
_STANDARD = """\
`job` is Exec's own object, exactly as Exec sent it, with all fields, also those that the relay does not know.
`metadata` is that of all registrations of the job, for every endpoint; `requested_by` is who wants the scenario.
`registration` is null for a standing endpoint; otherwise it has the `metadata` of this registration. `test` is true for
a sample that somebody sent to try the endpoint. `replaces` is null, unless the relay had given the job up and reported
`job.not_found` or `job.expired`: then it names that event, and this is the job's real ending. As a JSON Schema (also
under `webhooks` of `/openapi.json`, for tools that generate types from it):
"""
