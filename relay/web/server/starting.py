"""What the server answers while the relay starts: it listens first, so that a long start is not taken for a hang."""

import json
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.web.server.middleware import new_request_id

RETRY_AFTER = "5"
"""Seconds after which clients ask again."""


class StartingApp:
    """Answers health checks until `serve` gives it the application; everything else gets 503."""

    def __init__(self, base_path: str = "") -> None:
        self._base_path = base_path
        self._app: ASGIApp | None = None
        self.state = "the store is opened"
        """What the relay does now, as a clause."""

    def serve(self, app: ASGIApp) -> None:
        """From now on `app` answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None:
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(self._base_path)
        if path == "/healthz":
            response = _json(200, {"status": "ok"})
        elif path == "/readyz":
            check = {"name": "start", "ok": False, "text": f"the relay starts: {self.state}"}
            response = _json(503, {"status": "not_ready", "checks": [check]})
        else:
            text = f"the relay starts: {self.state}; try again later"
            error = {"type": "service_unavailable", "code": "starting", "message": text}
            response = _json(503, {"error": error})
        await response(scope, receive, send)


def _json(status: int, answer: dict[str, Any]) -> Response:
    headers = {"x-request-id": new_request_id()} | ({} if status == 200 else {"retry-after": RETRY_AFTER})
    return Response(json.dumps(answer).encode(), status, headers, media_type="application/json")
