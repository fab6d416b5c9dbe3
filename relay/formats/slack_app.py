"""`slack_app`: a bot's message that changes from started to its ending, for
`https://slack.com/api/chat.postMessage?channel=C0123456789` with the header `Authorization: Bearer xoxb-...`.

`&threads=true` adds the ending as a reply in the message's thread. The requester, found by their e-mail address, is
mentioned in a new message or reply, because an edit notifies nobody. The message's metadata names the job: after a lost
answer the channel's history says whether the message is there.
"""

import json
import re
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from relay.egress import HttpResponse, SendResult
from relay.formats.base import Format, Rejection, Target, json_body, short
from relay.formats.exchange import (
    MENTION_IS_DUE,
    SKIPPED_AS_THERE,
    SKIPPED_AS_UNCERTAIN,
    Call,
    Exchange,
    Task,
    failed,
    json_call,
    shown,
)
from relay.formats.message_text import describe_event
from relay.formats.ntfy import sequence_id
from relay.formats.slack import blocks, error_meaning, fallback
from relay.model import FINAL_EVENTS, SECOND, Event, LivingMessage, Registration

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")
_EVENT_TYPE = "exec_relay_job"
_FORM = "application/x-www-form-urlencoded"
_GONE = frozenset(["message_not_found", "cant_update_message", "edit_window_closed", "msg_too_long"])
"""Errors of an edit after which the ending is posted as a new message."""
_INVITE = (
    "invite the bot with /invite @BOT in the channel, or give the channel's id in the URL, then enable this endpoint"
)
_FATAL = {
    "invalid_auth": "Slack does not accept the bot token: copy it again from OAuth & Permissions",
    "not_authed": "the endpoint has no bot token: give it the header Authorization: Bearer xoxb-...",
    "token_revoked": "the bot token was revoked: install the app again and copy the new token",
    "token_expired": "the bot token expired: install the app again and copy the new token",
    "account_inactive": "the bot was removed from the workspace: install the app again",
    "not_in_channel": f"the bot is not in the channel: {_INVITE}",
    "channel_not_found": f"the bot sees no such channel: {_INVITE}",
    "is_archived": "the channel is archived: unarchive it, or choose another channel in the URL",
}
_FOR_NOW = frozenset(["internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"])


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"message": {"text", "blocks", "attachments", "metadata"}, "requested_by", "test"}`."""
    content = describe_event(event)
    metadata = {"event_type": _EVENT_TYPE, "event_payload": {"job": sequence_id(event)}}
    message = {
        "text": fallback(content),
        "mrkdwn": False,
        "blocks": blocks(content),
        "attachments": [],
        "metadata": metadata,
        "unfurl_links": False,
    }
    requested_by = event.context.requested_by or ""
    is_mentioned = event.type in FINAL_EVENTS and not event.context.test and _ADDRESS.fullmatch(requested_by)
    return {"message": message, "requested_by": requested_by if is_mentioned else None}


def exchange(task: Task) -> Exchange:
    """Posts the message, or edits it; then mentions the requester of an ended job once."""
    api, query = _parts(task.url)
    rendered = json.loads(task.body)
    message: Mapping[str, Any] = rendered["message"]
    living = task.message
    if task.may_be_there and not living.address:
        address, history_is_complete = yield from _find(api, query["channel"], message, living)
        if address:
            living = shown(living, False, address)
        elif not history_is_complete and not task.is_final:
            return SKIPPED_AS_UNCERTAIN, shown(living, False)
    if not living.address:
        return (yield from _post(task, living, api, query, rendered))
    if not task.is_final:
        return SKIPPED_AS_THERE, shown(living, False)
    result = yield json_call("POST", f"{api}/chat.update", {**message, **living.address})
    if _error(result) in _GONE:
        return (yield from _post(task, replace(living, address={}, mentioned=False), api, query, rendered))
    if not _succeeded(result):
        return result, living
    living = shown(living, True)
    user = "" if living.mentioned else (yield from _user(task, api, rendered["requested_by"]))
    if not living.mentioned and (user or query.get("threads") == "true"):
        if not task.may_notify:
            return MENTION_IS_DUE, living
        living = replace(living, mentioned=True)
        yield living  # noted before it is sent: after a crash nobody is notified twice
        reply = {"channel": living.address["channel"], "thread_ts": living.address["ts"]}
        text = f"<@{user}> {message['text']}" if user else message["text"]
        yield json_call("POST", f"{api}/chat.postMessage", {**reply, "text": text, "unfurl_links": False})
    return result, living


def _post(
    task: Task, living: LivingMessage, api: str, query: Mapping[str, str], rendered: Mapping[str, Any]
) -> Exchange:
    user = yield from _user(task, api, rendered["requested_by"])
    message = {"channel": query["channel"], **rendered["message"]}
    if user and task.may_notify:
        message["blocks"] = _with_mention(message["blocks"], user)
    result = yield json_call("POST", f"{api}/chat.postMessage", message)
    answer_body = json_body(result) if isinstance(result, HttpResponse) else {}
    if not _succeeded(result):
        return failed(result, living)
    address = {"channel": str(answer_body.get("channel")), "ts": str(answer_body.get("ts"))}
    posted = replace(shown(living, task.is_final, address), mentioned=task.is_final and (task.may_notify or not user))
    return result if posted.mentioned or not task.is_final else MENTION_IS_DUE, posted


def _find(
    api: str, channel: str, message: Mapping[str, Any], living: LivingMessage
) -> Generator[Call | LivingMessage, SendResult, tuple[dict[str, str] | None, bool]]:
    """The address of a message that names this job, and whether the history could be read."""
    oldest = f"{living.posting_since // SECOND - 60}"
    parameters = {"channel": channel, "oldest": oldest, "include_all_metadata": "true", "limit": "100"}
    result = yield Call("POST", f"{api}/conversations.history", urlencode(parameters).encode(), _FORM)
    if not _succeeded(result) or not isinstance(result, HttpResponse):
        return None, False
    answer_body = json_body(result)
    for candidate in answer_body.get("messages") or []:
        if isinstance(candidate, dict) and candidate.get("metadata") == message["metadata"]:
            return {"channel": channel, "ts": str(candidate.get("ts"))}, True
    return None, not answer_body.get("has_more")


def _user(task: Task, api: str, requested_by: str | None) -> Generator[Call | LivingMessage, SendResult, str]:
    """The id of the requester; "" if nobody in the workspace has this e-mail address, or the bot may not ask."""
    if not requested_by:
        return ""
    if requested_by not in task.cache:
        form = urlencode({"email": requested_by}).encode()
        result = yield Call("POST", f"{api}/users.lookupByEmail", form, _FORM)
        answer_body = json_body(result) if isinstance(result, HttpResponse) else {}
        user = answer_body.get("user")
        user_id = user.get("id") if isinstance(user, dict) else None
        if not _succeeded(result) and _error(result) not in ("users_not_found", "missing_scope"):
            return ""
        task.cache[requested_by] = user_id if isinstance(user_id, str) else ""
    return task.cache[requested_by]


def _with_mention(shown_blocks: Any, user: str) -> Any:
    first, *rest_blocks = shown_blocks
    [section] = first["elements"]
    elements = [*section["elements"], {"type": "text", "text": "\n"}, {"type": "user", "user_id": user}]
    return [{**first, "elements": [{**section, "elements": elements}]}, *rest_blocks]


def _target(url: str, body: bytes) -> Target:
    """A message that nothing changes later: a sample, or news for the operator."""
    api, query = _parts(url)
    call = json_call("POST", f"{api}/chat.postMessage", {"channel": query["channel"], **json.loads(body)["message"]})
    return Target(call.url, call.body)


def _parts(url: str) -> tuple[str, dict[str, str]]:
    """The URL of Slack's API without a method, and the parameters."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return f"{parts.scheme}://{parts.netloc}{parts.path.rpartition('/')[0]}", {"channel": "", **query}


def _succeeded(result: SendResult) -> bool:
    return isinstance(result, HttpResponse) and result.succeeded and json_body(result).get("ok") is True


def _error(result: SendResult) -> str:
    return str(json_body(result).get("error")) if isinstance(result, HttpResponse) else ""


def _rejection(answer: HttpResponse) -> Rejection | None:
    """A success is a 200 with `ok: true`; a proxy's page is none."""
    if not answer.succeeded or answer.status == 204:
        return None
    answer_body = json_body(answer)
    if answer_body.get("ok") is True:
        return None
    error = answer_body.get("error")
    if not isinstance(error, str):
        return Rejection("the answer is not Slack's: a proxy may stand between", retry=True)
    if error == "missing_scope":
        scope = short(answer_body.get("needed"))
        return Rejection(f"the bot token lacks the scope {scope}: add it and install the app again", disable=True)
    if meaning := _FATAL.get(error):
        return Rejection(f"{meaning} ({error})", disable=True)
    if error in ("ratelimited", "rate_limited"):
        return Rejection("Slack asks to slow down", retry=True, busy=True)
    rejection = None if error in _FOR_NOW else error_meaning(error)
    return rejection or Rejection(f"Slack did not take the message ({short(error)})", retry=True)


def _matches_url(host: str, path: str) -> bool:
    return host in ("slack.com", "slack-gov.com") and path.startswith("/api/chat.postMessage")


FORMAT = Format(
    body=body,
    matches_url=_matches_url,
    rejection=_rejection,
    target=_target,
    rate_per_second=1,
    exchange=exchange,
    address_key="ts",
    keeps_every_message=True,
)
