"""Stand-ins of Slack's Web API and of Discord's webhooks: they keep messages, merge edits as the services do, and can
lose an answer after they stored a message.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CHANNEL = "C0123456789"


@dataclass
class Chat:
    """What a chat holds, and what was asked of it."""

    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By `ts` or id, as people see them."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Every request: the method's name, and its parameters."""
    answers: dict[str, list[Response | None]] = field(default_factory=dict)
    """What the next calls of a method are answered with; None: as usual."""
    stored: Callable[[str], Awaitable[None]] | None = None
    """Called after a message was stored or changed and before the answer, with the method's name."""

    received: Callable[[str], Awaitable[None]] | None = None
    """Called before anything of a request is stored."""

    def texts(self) -> list[str]:
        return [json.dumps(message, ensure_ascii=False) for message in self.messages.values()]

    def called(self, name: str) -> list[dict[str, Any]]:
        return [parameters for method, parameters in self.calls if method == name]

    def planned(self, name: str) -> Response | None:
        planned = self.answers.get(name)
        return planned.pop(0) if planned else None

    async def _keep(self, name: str, id: str, message: dict[str, Any]) -> None:
        if self.received is not None:
            await self.received(name)
        self.messages[id] = message
        if self.stored is not None:
            await self.stored(name)


class FakeSlack(Chat):
    """Slack's Web API: post, update, history, lookup. An edit keeps blocks and attachments that it leaves out."""

    users: ClassVar = {"jane@acme.com": "U0JANE"}

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/api/{method:path}", self._call, methods=["POST"])])

    async def _call(self, request: Request) -> Response:
        name = request.path_params["method"]
        raw = await request.body()
        is_form = "form" in request.headers["content-type"]
        asked = {key: one[0] for key, one in parse_qs(raw.decode()).items()} if is_form else json.loads(raw)
        self.calls.append((name, asked))
        if (planned := self.planned(name)) is not None:
            return planned
        if request.headers.get("authorization") != "Bearer xoxb-secret-token":
            return JSONResponse({"ok": False, "error": "invalid_auth"})
        return JSONResponse(await self._answer(name, asked))

    async def _answer(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        match name:
            case "chat.postMessage":
                ts = f"{1_700_000_000 + len(self.calls)}.000100"
                await self._keep(name, ts, asked)
                return {"ok": True, "channel": CHANNEL, "ts": ts, "message": asked}
            case "chat.update":
                if asked["channel"] != CHANNEL or asked["ts"] not in self.messages:
                    return {"ok": False, "error": "message_not_found"}
                await self._keep(name, asked["ts"], self.messages[asked["ts"]] | asked)
                return {"ok": True, "channel": CHANNEL, "ts": asked["ts"]}
            case "conversations.history":
                roots = [one | {"ts": ts} for ts, one in self.messages.items() if "thread_ts" not in one]
                return {"ok": True, "messages": roots[::-1], "has_more": False}
            case "users.lookupByEmail":
                id = self.users.get(asked["email"])
                return {"ok": True, "user": {"id": id}} if id else {"ok": False, "error": "users_not_found"}
        return {"ok": False, "error": "unknown_method"}


@dataclass
class FakeDiscord(Chat):
    """Discord's webhooks: without `wait=true` there is no id; an edit keeps what it leaves out.

    An edit finds a message only at the webhook and in the thread that it was posted to.
    """

    places: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """By id of a message, the webhook's id and the thread's."""

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/webhooks/{id}/{token}", self._post, methods=["POST"]),
                Route("/api/webhooks/{id}/{token}/messages/{message}", self._edit, methods=["PATCH"]),
            ]
        )

    async def _post(self, request: Request) -> Response:
        body = await request.json()
        self.calls.append(("post", {"query": dict(request.query_params), "body": body}))
        if (planned := self.planned("post")) is not None:
            return planned
        id = str(1_000 + len(self.calls))
        self.places[id] = self._place(request)
        await self._keep("post", id, body)
        return JSONResponse({"id": id}) if request.query_params.get("wait") == "true" else Response(status_code=204)

    async def _edit(self, request: Request) -> Response:
        body, id = await request.json(), request.path_params["message"]
        self.calls.append(("edit", {"query": dict(request.query_params), "body": body}))
        if (planned := self.planned("edit")) is not None:
            return planned
        if id not in self.messages or self.places[id] != self._place(request):
            return JSONResponse({"message": "Unknown Message", "code": 10008}, 404)
        await self._keep("edit", id, self.messages[id] | body)
        return JSONResponse({"id": id})

    @staticmethod
    def _place(request: Request) -> tuple[str, str | None]:
        return request.path_params["id"], request.query_params.get("thread_id")


@dataclass
class FakeNtfy(Chat):
    """An ntfy server: a message with the sequence id of an earlier one replaces it, and the answer has the id; a server
    before 2.16 does neither.
    """

    replaces: bool = True

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/", self._publish, methods=["POST"])])

    async def _publish(self, request: Request) -> Response:
        body = await request.json()
        self.calls.append(("publish", body))
        if (planned := self.planned("publish")) is not None:
            return planned
        id = body["sequence_id"] if self.replaces else str(len(self.calls))
        await self._keep("publish", id, body)
        return JSONResponse({"id": "x", "event": "message"} | ({"sequence_id": id} if self.replaces else {}))
