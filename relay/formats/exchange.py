"""An exchange with a chat whose messages can be changed: which requests it takes to show an event.

An exchange is a generator without effects. It yields `Call`s and gets each one's result; what it yields as a
`LivingMessage` is stored before it goes on. It returns the result that decides about the delivery, and the message.
"""

from collections.abc import Generator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace

from relay.egress import HttpResponse, RequestFailed, SendResult
from relay.egress.result import BUSY, UNSENT
from relay.formats.encode_json import encode_json
from relay.model import LivingMessage, MessageState


@dataclass(frozen=True, slots=True)
class Call:
    """One request of an exchange."""

    method: str
    url: str = field(repr=False)
    body: bytes = field(repr=False)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Task:
    """What an exchange is about."""

    url: str = field(repr=False)
    """The endpoint's."""
    body: bytes = field(repr=False)
    """As rendered."""
    message: LivingMessage
    is_final: bool
    may_be_there: bool
    """An earlier post was begun and its answer is not known: the message may be there."""
    cache: MutableMapping[str, str]
    """What the endpoint's earlier exchanges learned of the service, such as the ids of users by e-mail address."""
    may_notify: bool = True
    """Whether people may hear of it: not while quiet hours or a digest hold the news; then a message is only edited."""


Outcome = tuple[SendResult, LivingMessage | None]
"""The result that decides about the delivery; the message, or None if there is none."""

Exchange = Generator[Call | LivingMessage, SendResult, Outcome]

SKIPPED_AS_ENDED = HttpResponse(204, {}, b"not sent: the job has ended meanwhile, and its ending is sent instead")
SKIPPED_AS_THERE = HttpResponse(204, {}, b"not sent: the message is there already")
MENTION_IS_DUE = HttpResponse(204, {}, b"the message shows the ending; nobody is mentioned yet")
"""The message was edited; a mention or a reply, which people would hear, is left."""
SKIPPED_AS_UNEDITABLE = HttpResponse(
    204, {}, b"not sent: this server can't replace the start of a job by its ending, and gets endings only"
)
SKIPPED_AS_UNCERTAIN = HttpResponse(
    204,
    {},
    b"not sent again: the answer to the first request was lost, and the service can't be asked whether it has "
    b"the message; the ending will be sent",
)


def shown(message: LivingMessage, is_final: bool, address: Mapping[str, str] | None = None) -> LivingMessage:
    """The message after it was posted or edited. States only move forward."""
    state = MessageState.ENDED if is_final or message.state is MessageState.ENDED else MessageState.POSTED
    return replace(message, state=state, address=message.address if address is None else dict(address))


def was_not_taken(result: SendResult) -> bool:
    """Whether the service surely has no message: it said no, or no request reached it."""
    if isinstance(result, HttpResponse):
        return True
    unreached = result.kind in ("blocked", "tls", UNSENT, BUSY)
    return unreached or result.detail.startswith(("no connection", "the host's name has no address"))


def json_call(method: str, url: str, body: Mapping[str, object]) -> Call:
    return Call(method, url, encode_json(body))


def failed(result: SendResult, message: LivingMessage) -> Outcome:
    """The outcome of a post that did not succeed: a message that may be there stays noted as begun."""
    return result, None if was_not_taken(result) else message


def is_lost(result: SendResult) -> bool:
    return isinstance(result, RequestFailed)
