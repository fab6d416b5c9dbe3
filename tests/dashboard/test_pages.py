"""The pages without a browser: who may see them, which forms are accepted, and which secrets are never shown."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay.model import HOUR, Actor, EventType, Via
from tests.conftest import Clock
from tests.web.conftest import Api, open_api

ADMIN, READER = "relay_admin_0123456789abcdef", "relay_reader_0123456789abcdef"
KEYS = [{"name": "me", "key": ADMIN}, {"name": "guest", "key": READER, "scopes": ["read"]}]
HTML = {"accept": "text/html"}
OPS = Actor(via=Via.COMMAND, user="ops")
SLACK = "https://hooks.slack.com/services/T000/B000/marked-as-secret"


@pytest.fixture
async def open_relay(sqlite_url: str, clock: Clock) -> AsyncIterator[Api]:
    """A relay without keys."""
    async with open_api(sqlite_url, clock) as api:
        yield api


@pytest.fixture
async def locked(sqlite_url: str, clock: Clock) -> AsyncIterator[Api]:
    """A relay with keys; nobody is logged in."""
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS}) as api:
        yield api


async def log_in(api: Api, key: str = ADMIN, **form: str) -> httpx.Response:
    return await api.http.post("/login", data={"api_key": key} | form)


async def token_of(api: Api) -> str:
    """What the forms of the present session hold."""
    text = (await api.http.get("/register", headers=HTML)).text
    return text.split('name="csrf" value="')[1].split('"')[0]


async def test_front_is_a_page_for_browsers_and_json_for_programs(open_relay: Api) -> None:
    """`/` answers in the format of the Accept header."""
    page = await open_relay.http.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert (await open_relay.http.get("/")).json()["name"] == "exec-relay"


async def test_pages_need_a_login(locked: Api) -> None:
    """Without a session each page redirects to the login, and the login back to the page."""
    answer = await locked.http.get("/jobs?state=active", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/jobs%3Fstate%3Dactive")
    assert (await log_in(locked, next="/jobs?state=active")).headers["location"] == "/jobs?state=active"
    assert (await locked.http.get("/jobs", headers=HTML)).status_code == 200


@pytest.mark.parametrize("elsewhere", "https://evil.example //evil.example /\\evil.example javascript:alert(1)".split())
async def test_login_redirects_to_no_other_site(locked: Api, elsewhere: str) -> None:
    """For any `next` the login ends on this dashboard."""
    assert (await log_in(locked, next=elsewhere)).headers["location"] == "/"


async def test_register_scope_can_register(sqlite_url: str, clock: Clock) -> None:
    """A key of scope register gets the form, and after it only pages that it may open."""
    keys = [{"name": "form", "key": ADMIN, "scopes": ["register"]}]
    async with open_api(sqlite_url, clock, security={"api_keys": keys}) as api:
        assert (await log_in(api)).headers["location"] == "/register"
        assert (await api.http.get("/login", headers=HTML)).headers["location"] == "/register"
        assert 'href="/register"' in (await api.http.get("/jobs", headers=HTML)).text
        form = {"csrf": await token_of(api), "job_id": "j1", "job.failed": "on"}
        answer = await api.http.post("/register", data=form, headers=HTML)
        assert answer.status_code == 200
        assert "Job j1 is registered" in answer.text
        assert "/jobs/" not in answer.text


async def test_session_is_out_of_reach(locked: Api) -> None:
    """The cookie is for this site alone and for no script; over HTTPS it is Secure; it is not the key."""
    cookie = (await log_in(locked)).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert ADMIN not in cookie
    assert "secure" not in cookie
    locked.http.cookies.clear()
    encrypted = await locked.http.post("https://127.0.0.1:8080/login", data={"api_key": ADMIN})
    assert "secure" in encrypted.headers["set-cookie"].lower()


async def test_session_ends(locked: Api, clock: Clock) -> None:
    """After twelve hours, and at once with the logout, in every tab."""
    await log_in(locked)
    token = await token_of(locked)
    other_tab = locked.http.cookies["relay_session_8080"]
    assert (await locked.http.post("/logout", data={"csrf": token})).headers["location"] == "/login"
    other = {"cookie": f"relay_session_8080={other_tab}"}
    assert (await locked.http.get("/jobs", headers=HTML | other)).status_code == 303
    locked.http.cookies.clear()
    await log_in(locked)
    clock.advance(12 * HOUR + 1)
    assert (await locked.http.get("/jobs", headers=HTML)).status_code == 303


async def test_a_form_of_a_session_that_has_ended_leads_back_to_it(locked: Api, clock: Clock) -> None:
    """It says that nothing was changed; after the login the form's page opens, and no page of another site."""
    await log_in(locked)
    form = {"csrf": await token_of(locked), "url": "https://example.com/hook", "action": "save"}
    clock.advance(12 * HOUR + 1)
    before = await locked.stored()
    own = {"origin": "http://127.0.0.1:8080", "referer": "http://127.0.0.1:8080/endpoints/new"}
    sent = await locked.http.post("/endpoints/new", data=form, headers=HTML | own)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/endpoints/new&notice=session-ended")
    assert "nothing was changed" in (await locked.http.get(sent.headers["location"], headers=HTML)).text
    elsewhere = {"referer": "https://evil.example/endpoints/new"}
    sent = await locked.http.post("/endpoints/new", data=form, headers=HTML | elsewhere)
    assert sent.headers["location"] == "/login?notice=session-ended"
    assert await locked.stored() == before


async def test_two_relays_on_two_ports_share_no_session(sqlite_url: str, clock: Clock, tmp_path: Path) -> None:
    """Browsers send a host's cookies to all of its ports: a login at one relay leaves that at the other as it is."""
    urls = (sqlite_url, f"sqlite:///{tmp_path}/other.db")
    async with (
        open_api(urls[0], clock, security={"api_keys": KEYS}) as one,
        open_api(urls[1], clock, security={"api_keys": KEYS}) as other,
    ):
        cookies: dict[str, str] = {}
        for api, port in ((one, 8080), (other, 8081)):
            answer = await api.http.post(f"http://127.0.0.1:{port}/login", data={"api_key": ADMIN})
            assert "domain" not in answer.headers["set-cookie"].lower()
            cookies |= dict(answer.cookies)
        assert len(cookies) == 2
        both = {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        for api, port in ((one, 8080), (other, 8081)):
            assert (await api.http.get(f"http://127.0.0.1:{port}/jobs", headers=HTML | both)).status_code == 200


async def test_session_ends_with_its_key(sqlite_url: str, clock: Clock) -> None:
    """A key that is no longer configured opens no page, although its session began before."""
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS}) as api:
        await log_in(api, READER)
        session = {"cookie": f"relay_session_8080={api.http.cookies['relay_session_8080']}"}
        assert (await api.http.get("/jobs", headers=HTML | session)).status_code == 200
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS[:1]}) as api:
        assert (await api.http.get("/jobs", headers=HTML | session)).status_code == 303


FORMS = (
    "/register /registrations/reg_1/withdraw /deliveries/dlv_1/resend /endpoints/ep_1/test /endpoints/ep_1/rotate "
    "/endpoints/ep_1/enable /endpoints/ep_1/disable /endpoints/new /endpoints/ep_1/edit /endpoints/ep_1/delete "
    "/sending/resume /sending/discard /keys /keys/key_1/revoke /logout"
).split()


@pytest.mark.parametrize("path", FORMS)
async def test_forms_of_other_sites_are_refused(locked: Api, path: str) -> None:
    """A form without the session's token, or from another origin, changes nothing."""
    await log_in(locked)
    token = await token_of(locked)
    foreign: Sequence[tuple[dict[str, str], dict[str, str]]] = (
        ({"csrf": ""}, {}),
        ({"csrf": "guessed"}, {}),
        ({"csrf": token}, {"origin": "https://evil.example"}),
        ({"csrf": token}, {"origin": "null"}),
        ({"csrf": token}, {"sec-fetch-site": "cross-site"}),
    )
    for form, headers in foreign:
        answer = await locked.http.post(path, data=form, headers=HTML | headers)
        assert answer.status_code == 403, (path, form, headers)
        assert "this form is not from a page of this session" in answer.text


@pytest.mark.parametrize("path", [path for path in FORMS if path != "/logout"])
async def test_readers_change_nothing(locked: Api, path: str) -> None:
    """A key of scope read gets a page that says which scope is needed."""
    await log_in(locked, READER)
    page = (await locked.http.get("/jobs", headers=HTML)).text
    token = page.split('name="csrf" value="')[1].split('"')[0]
    answer = await locked.http.post(path, data={"csrf": token}, headers=HTML)
    assert answer.status_code == 403
    assert "this needs a key with the scope" in answer.text


async def test_pages_show_no_secret(open_relay: Api) -> None:
    """Callback URLs, their headers and signing secrets are on no page."""
    made = await open_relay.register(callback_url=SLACK, headers={"x-token": "marked-as-secret"})
    [delivery] = await open_relay.deliver()
    pages = ["/", "/jobs", "/jobs/default/j1", "/deliveries", f"/deliveries/{delivery}", "/endpoints", "/register"]
    pages += [f"/endpoints/{made['endpoint']['id']}", "/search?q=slack", "/search?q=j1"]
    secret = made["endpoint"]["secret"]
    for path in pages:
        answer = await open_relay.http.get(path, headers=HTML, follow_redirects=True)
        assert answer.status_code == 200, path
        assert "marked-as-secret" not in answer.text
        assert secret not in answer.text


async def test_texts_of_others_stay_texts(open_relay: Api) -> None:
    """Whatever a search, a job or a receiver says, it is escaped."""
    answer = await open_relay.http.get("/search", params={"q": '"><script>alert(1)</script>'}, headers=HTML)
    assert "<script>alert" not in answer.text
    answer = await open_relay.http.get("/jobs", params={"notice": "<i>odd</i>"}, headers=HTML)
    assert "<i>" not in answer.text


async def test_a_mistyped_address_is_a_page_for_browsers(open_relay: Api) -> None:
    """A person sees words and a way back, a program gets JSON, also below the API's path."""
    for path in ("/job", "/dashboard/", "/jobs/a/b/c"):
        found = await open_relay.http.get(path, headers=HTML)
        assert (found.status_code, found.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "There is no page at this address" in found.text
        assert "Go to the overview" in found.text
        assert "data-live" not in found.text
        assert (await open_relay.http.get(path)).json()["error"]["code"] == "unknown_path"
    assert (await open_relay.http.get("/v1/nothing", headers=HTML)).json()["error"]["code"] == "unknown_path"


@pytest.mark.parametrize(
    ("form", "page"),
    [
        ("/endpoints/ep_1/test", "/endpoints/ep_1"),
        ("/deliveries/dlv_1/resend", "/deliveries/dlv_1"),
        ("/keys/key_1/revoke", "/keys"),
        ("/logout", "/"),
    ],
)
async def test_the_address_of_a_form_leads_to_its_page(open_relay: Api, form: str, page: str) -> None:
    """A browser shows it while it shows the answer; whoever presses Enter there gets a page. Programs get 405."""
    answer = await open_relay.http.get(form, headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert (await open_relay.http.get(form)).status_code == 405


async def test_pages_load_nothing_from_elsewhere(open_relay: Api) -> None:
    """The policy allows the relay's own files only; every file of a page exists; nothing is inline."""
    answer = await open_relay.http.get("/", headers=HTML)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert " style=" not in answer.text
    assert "<script>" not in answer.text
    for part in answer.text.split('"/static/')[1:]:
        path = "/static/" + part.split('"')[0]
        found = await open_relay.http.get(path)
        assert found.status_code == 200, path
        assert "immutable" in found.headers["cache-control"]
    assert (await open_relay.http.get("/static/0.0.0/style.css")).status_code == 404


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"job_id": "no/job"}, "a job id is 1 to 128 letters"),
        ({"job_id": "j1", "callback_url": "https://169.254.169.254/"}, "169.254.169.254"),
        ({"job_id": "j1", "endpoint": "ep_none", "job.failed": "on"}, "there is no endpoint with this id or name"),
        ({"job_id": "j1", "workspace": "other"}, "there is no such workspace"),
        ({"job_id": "j1"}, "choose at least one event"),
    ],
)
async def test_errors_are_next_to_their_fields(open_relay: Api, form: dict[str, Any], said: str) -> None:
    """The form comes back with what was filled in and what is wrong, and nothing is stored."""
    answer = await open_relay.http.post("/register", data=form, headers=HTML)
    assert answer.status_code == 400
    assert said in answer.text
    assert await open_relay.stored() == {}


async def test_the_form_is_empty_at_first(open_relay: Api) -> None:
    """A new form has no notice; a link may fill in the job id."""
    text = (await open_relay.http.get("/register?job_id=j1", headers=HTML)).text
    assert 'value="j1"' in text
    assert 'role="status"' not in text


async def test_chosen_events_only(open_relay: Api) -> None:
    """The registration has the events that are ticked."""
    await open_relay.make_endpoint()
    answer = await open_relay.http.post("/register", data={"job_id": "j1", "job.failed": "on"}, headers=HTML)
    assert answer.headers["location"] == "/jobs/default/j1?notice=registered"
    [made] = (await open_relay.get("/v1/registrations"))["data"]
    assert made["events"] == ["job.failed"]
    again = await open_relay.http.post("/register", data={"job_id": "j1", "job.failed": "on"}, headers=HTML)
    assert again.headers["location"] == "/jobs/default/j1?notice=duplicate"
    gone = await open_relay.http.post(f"/registrations/{made['id']}/withdraw", data={"csrf": ""}, headers=HTML)
    assert gone.headers["location"] == "/jobs/default/j1?notice=withdrawn"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs?state=odd", 400),
        ("/jobs?cursor=odd", 400),
        ("/deliveries?status=odd", 400),
        ("/deliveries?endpoint=odd", 400),
        ("/deliveries/dlv_none", 404),
        ("/endpoints/ep_none", 404),
        ("/endpoints?kind=odd", 400),
        ("/jobs/default/none", 404),
    ],
)
async def test_wrong_addresses_get_an_error_page(open_relay: Api, path: str, status: int) -> None:
    """The page says what is wrong, has a link back, and does not poll itself."""
    answer = await open_relay.http.get(path, headers=HTML)
    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert "hx-get" not in answer.text


async def test_previews_of_every_format(open_relay: Api) -> None:
    """Each format previews each event of the sample job; unknown ones are refused with a text."""
    made = await open_relay.make_endpoint()
    page = f"/endpoints/{made['id']}"
    for format in ("slack", "slack_workflow", "standard", "zapier", "discord", "teams", "google_chat"):
        for event in EventType:
            answer = await open_relay.http.get(page, params={"format": format, "event": event.value}, headers=HTML)
            assert answer.status_code == 200
    assert "Scenario failed" in (await open_relay.http.get(f"{page}?format=slack&event=job.failed", headers=HTML)).text
    for odd in ("format=fax", "event=job.exploded"):
        assert (await open_relay.http.get(f"{page}?{odd}", headers=HTML)).status_code == 400


async def test_every_page_says_that_sending_is_suspended(locked: Api, clock: Clock) -> None:
    """With what waits and why; an admin decides there, a reader sees it."""
    locked.http.headers["authorization"] = f"Bearer {ADMIN}"
    await locked.register()
    await locked.deliver()
    del locked.http.headers["authorization"]
    await locked.relay.sending.suspend(OPS, clock())
    await log_in(locked)
    text = (await locked.http.get("/jobs", headers=HTML)).text
    assert "Nothing is sent:" in text
    assert "it was suspended by hand. 1 delivery waits" in text
    form = {"csrf": await token_of(locked)}
    done = await locked.http.post("/sending/discard", data=form, headers=HTML)
    assert done.headers["location"] == "/?notice=sending-discarded"
    assert "Nothing is sent:" not in (await locked.http.get("/jobs", headers=HTML)).text
    again = await locked.http.post("/sending/discard", data=form, headers=HTML)
    assert (again.status_code, "sending is not suspended" in again.text) == (409, True)
    await locked.relay.sending.suspend(OPS, clock())
    assert (await locked.http.post("/sending/resume", data=form, headers=HTML)).status_code == 303
    assert locked.relay.sending.suspension is None
    await locked.relay.sending.suspend(OPS, clock())
    locked.http.cookies.clear()
    await log_in(locked, READER)
    text = (await locked.http.get("/jobs", headers=HTML)).text
    assert "Nothing is sent:" in text
    assert "/sending/discard" not in text


async def test_pages_have_the_time_zone_of_the_configuration(sqlite_url: str, clock: Clock) -> None:
    """In words that tell the two hours apart that the end of summer time doubles; days of filters are of the zone."""
    clock.at = 1_729_989_000_000  # 2024-10-27T00:30Z: half past two in Berlin, and once more an hour later
    async with open_api(sqlite_url, clock, server={"time_zone": "Europe/Berlin"}) as api:
        await api.make_endpoint(name="summer")
        clock.advance(HOUR)
        await api.make_endpoint(name="winter", url="https://example.com/winter")
        page = (await api.http.get("/audit", headers=HTML)).text
        for text in ("27 Oct 2024, 02:30:00 CEST", "27 Oct 2024, 02:30:00 CET", "Times are in Europe/Berlin"):
            assert text in page
        assert 'data-time-zone="Europe/Berlin"' in page
        day = await api.http.get("/deliveries?since=2024-10-27&until=2024-10-27", headers=HTML)
        berlin = "since=2024-10-26T22%3A00%3A00.000Z&until=2024-10-27T23%3A00%3A00.000Z"  # a day of 25 hours
        assert day.headers["location"] == f"/deliveries?{berlin}"
