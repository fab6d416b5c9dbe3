"""The first minutes with the dashboard, without a browser: the checklist, and a job that is created by form."""

import re

import httpx
import pytest

from relay.model import HOUR, MINUTE, SECOND
from relay.sandbox.receiver import Respond
from tests.dashboard.scene import BROKEN, Scene

ENDINGS = {"job.completed": "on", "job.failed": "on"}


async def ticks(http: httpx.AsyncClient) -> list[bool]:
    """The checklist of the first page: which steps are done."""
    text = (await http.get("/")).text
    return [state == "done" for state in re.findall(r'class="tick" role="img" aria-label="(\w+)"', text)]


async def test_checklist_of_a_new_relay(made: Scene, http: httpx.AsyncClient) -> None:
    """Each step is ticked when it is done, and after the first notification the list is gone."""
    assert await ticks(http) == [False] * 5
    fields = {"url": f"{made.receiver_url}/crm", "name": "crm", "format": "auto", "event": "job.failed", "csrf": ""}
    created = await http.post("/endpoints/new", data=fields | ENDINGS | {"action": "save"})
    assert "The endpoint is created." in created.text
    assert await ticks(http) == [False, True, False, False, False]
    [id] = set(re.findall(r"ep_[0-9A-Z]+", (await http.get("/endpoints")).text))
    made.receiver.script(BROKEN, path="/crm")
    await http.post(f"/endpoints/{id}/test", data={"csrf": ""})
    assert await ticks(http) == [False, True, False, False, False]
    await http.post(f"/endpoints/{id}/test", data={"csrf": ""})
    assert await ticks(http) == [False, True, True, False, False]
    await made.register(made.exec.add(lasts=60 * SECOND).id, callback=None)
    assert await ticks(http) == [True, True, True, True, False]
    await made.advance(10 * MINUTE)
    assert await ticks(http) == []


async def test_a_job_is_created_at_exec_by_form(made: Scene, http: httpx.AsyncClient) -> None:
    """With its metadata; the same form again creates nothing twice; it is found by request id and prompt."""
    text = (await http.get("/register")).text
    request_id = text.split('name="request_id" value="')[1].split('"')[0]
    fields = {
        "csrf": "",
        "mode": "create",
        "request_id": request_id,
        "user_email": "jane@acme.com",
        "prompt": "A sceptical CFO",
        "metadata": "customer=Acme\ndeal = 4711",
        "callback_url": f"{made.receiver_url}/crm",
    }
    for _ in range(2):
        answer = await http.post("/register", data=fields | ENDINGS)
        assert answer.status_code in (200, 303), answer.text
    jobs = (await http.get("/v1/jobs", headers={"accept": "application/json"})).json()["data"]
    assert len(jobs) == 1
    page = (await http.get(f"/jobs/default/{jobs[0]['job_id']}")).text
    assert all(part in page for part in ("jane@acme.com", "A sceptical CFO", "Acme", "4711"))
    for query in (request_id, "sceptical cfo", "4711"):
        assert f'href="/jobs/default/{jobs[0]["job_id"]}"' in (await http.get("/search", params={"q": query})).text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"user_email": ""}, "say whom the scenario is for"),
        ({"prompt": ""}, "say what the scenario is about"),
        ({"metadata": "acme"}, "write one pair a line"),
        ({"prompt": "x" * 10_001}, "Exec takes 10,000 characters at most"),
    ],
)
async def test_what_is_missing_is_said_beside_its_field(
    made: Scene, http: httpx.AsyncClient, changed: dict[str, str], said: str
) -> None:
    """And nothing is created at Exec; what was filled in stays."""
    fields = {"csrf": "", "mode": "create", "user_email": "jane@acme.com", "prompt": "A CFO", "metadata": ""} | changed
    answer = await http.post("/register", data=fields | ENDINGS)
    assert answer.status_code == 400
    assert said in answer.text.split('class="wrong"')[1].split("</span>")[0]
    assert not made.exec.records.requests


async def test_attempts_are_compared(made: Scene, http: httpx.AsyncClient) -> None:
    """The last two, or the two that are chosen; what differs is marked."""
    made.receiver.script(BROKEN, Respond(status=404, body=b"no such path"), path="/crm")
    await made.register(made.exec.add(lasts=60 * SECOND).id, path="/crm")
    await made.advance(HOUR)
    [delivery] = await made.deliveries()
    for query, differs in (("", "404"), ("?first=1&second=2", "500")):
        page = (await http.get(f"/deliveries/{delivery.id}{query}")).text
        table = page.split('class="compared"')[1].split("</table>")[0]
        assert table.count('class="differs"') >= 3
        assert differs in table
    assert "no such path" in table
    assert "upstream is down" in table


async def test_a_chats_delivery_is_drawn(made: Scene, http: httpx.AsyncClient) -> None:
    """As the chat shows it, with the JSON below it; after a change of the format the JSON alone."""
    registered = await made.register(made.exec.add(lasts=60 * SECOND, name="Renewal").id, path="/chat", format="slack")
    await made.advance(10 * MINUTE)
    [delivery] = await made.deliveries()
    page = (await http.get(f"/deliveries/{delivery.id}")).text
    drawing = page.split('aria-label="The message as Slack shows it"')[1]
    assert "Renewal" in drawing.split("</figure>")[0]
    assert "<summary>Request body</summary>" in drawing
    from sqlalchemy import update

    from relay.store.engine.schema import endpoints

    for format in ("discord", "teams", "email", "standard"):
        changed = update(endpoints).where(endpoints.c.id == registered.registration.endpoint_id).values(format=format)
        await made.relay.store.write(lambda tx, changed=changed: tx.execute(changed))  # type: ignore[misc]
        page = (await http.get(f"/deliveries/{delivery.id}")).text
        assert "shows it" not in page
        assert "Renewal" in page


async def test_a_replay_is_counted_started_and_shown(made: Scene, http: httpx.AsyncClient) -> None:
    """From a local time on; the page says how many there are first, then how far the replay is."""
    registered = await made.register(made.exec.add(lasts=60 * SECOND).id, path="/crm")
    await made.advance(10 * MINUTE)
    path = f"/endpoints/{registered.registration.endpoint_id}"
    form = {"csrf": "", "since": "2020-01-01T00:00:00", "action": "count"}
    counted = (await http.post(f"{path}/replay", data=form)).text
    assert "1 delivery was delivered since" in counted
    since = counted.split('name="since" value="')[1].split('"')[0]
    answer = await http.post(f"{path}/replay", data={"csrf": "", "since": since, "action": "start"})
    assert answer.headers["location"] == f"{path}?notice=replay-started"
    await made.settle()
    section = (await http.get(path)).text.split('aria-labelledby="replays"')[1].split("</section>")[0]
    assert "completed" in section
    assert len(made.received("/crm")) == 2
    [delivery] = await made.deliveries()
    assert "replay by hand" in (await http.get(f"/deliveries/{delivery.id}")).text
    assert (await http.post(f"{path}/replay", data={"csrf": "", "since": "soon"})).status_code == 400
