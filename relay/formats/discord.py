"""`discord`: a channel's webhook, laid out as one embed.

Exec's words are escaped, because Discord reads Markdown in titles and descriptions, and `allowed_mentions` lets
nobody be pinged. Limits: title 256, description 4,096, 6,000 in all.
"""

from relay.egress.result import HttpResponse
from relay.formats.base import Format, PermanentError, json_body
from relay.formats.message_text import Tone, describe_event
from relay.formats.truncate import truncate
from relay.model import Event, Registration, to_rfc3339

MOST_TITLE = 256
MOST_DESCRIPTION = 4_096
_COLOURS = {Tone.GOOD: 0x2EB67D, Tone.BAD: 0xE01E5A, Tone.NEUTRAL: 0x9AA0A6}

_ESCAPES = str.maketrans({char: f"\\{char}" for char in "\\*_~`|[]<>#"})

_NEW_URL = "make a new webhook in the channel's settings (Integrations) and register its URL"


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"embeds": [one], "allowed_mentions": {"parse": []}}`."""
    said = describe_event(event)
    embed: dict[str, object] = {"title": truncate(said.headline, MOST_TITLE, _ESCAPES), "color": _COLOURS[said.tone]}
    if said.link:
        embed["url"] = said.link
    if reason := said.detail_within(MOST_DESCRIPTION, _ESCAPES):
        embed["description"] = reason
    embed["footer"] = {"text": said.footnote}
    embed["timestamp"] = to_rfc3339(event.occurred_at)
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _permanent(answer: HttpResponse) -> PermanentError | None:
    """By Discord's JSON error codes."""
    match answer.status, json_body(answer).get("code"):
        case 404, 10015:
            return PermanentError(f"Discord says this webhook was removed (10015 Unknown Webhook): {_NEW_URL}", True)
        case 401, 50027:
            return PermanentError(
                "Discord does not know this webhook's token (50027 Invalid Webhook Token): copy the whole URL again, "
                f"or {_NEW_URL}",
                True,
            )
        case 400, (50006 | 50035) as code:
            return PermanentError(
                f"Discord did not take the relay's message ({code}): please report it, with this job's id", False
            )
    return None


def _recognises(host: str, path: str) -> bool:
    ours = host in ("discord.com", "discordapp.com") or host.endswith((".discord.com", ".discordapp.com"))
    return ours and path.startswith("/api/") and "/webhooks/" in path


FORMAT = Format(body=body, matches_url=_recognises, permanent_error=_permanent)
