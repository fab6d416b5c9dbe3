"""What the server answers before the relay is open: health checks, at any host, and 503 to all else."""

import httpx
import pytest
from starlette.responses import PlainTextResponse

from relay.web.server.starting import StartingApp


@pytest.mark.parametrize("host", ["10.244.0.5:8000", "localhost", "relay.example.com"])
@pytest.mark.parametrize("base", ["", "/relay"])
async def test_a_starting_relay_is_alive_and_not_ready(base: str, host: str) -> None:
    """With the reason; below the base path and above it; then the application answers."""
    app = StartingApp("/relay")
    app.state = "the tables are upgraded, step 3 of 5"
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers={"host": host}) as http:
        alive = await http.get(f"{base}/healthz")
        assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
        ready = await http.get(f"{base}/readyz?exclude=exec")
        assert (ready.status_code, ready.headers["retry-after"]) == (503, "5")
        [check] = ready.json()["checks"]
        assert check["text"] == "the relay starts: the tables are upgraded, step 3 of 5"
        other = await http.post(f"{base}/v1/registrations", json={"job_id": "j1"})
        assert (other.status_code, other.json()["error"]["code"]) == (503, "starting")
        assert other.headers["x-request-id"].startswith("req_")  # by which clients know a relay
        app.serve(PlainTextResponse("the application"))
        assert (await http.get(f"{base}/healthz")).text == "the application"
