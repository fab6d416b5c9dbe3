"""`Idempotency-Key`: a repeated request gets the first response."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from relay.model import DAY
from relay.store.engine.schema import idempotency
from tests.conftest import Clock
from tests.web.conftest import SECRET, Api, assert_refused, open_api, shared

REGISTRATIONS = "/v1/registrations"
BODY = {"job_id": "j1", "callback_url": "https://example.com/callback", "metadata": {"secret": "theirs"}}
KEYS = [{"name": name, "key": f"relay_{name}_0123456789abcdef"} for name in ("sales", "support")]


async def post(api: Api, key: str, body: Any = None, path: str = REGISTRATIONS, **headers: str) -> httpx.Response:
    """A POST with an Idempotency-Key."""
    return await api.http.post(path, json=body or BODY, headers={"Idempotency-Key": key, **headers})


async def test_a_repeat_gets_the_same_response(any_api: Api) -> None:
    """Status, body with its secret, and location are those of the first response, and a header says that it is a
    repeat."""
    first = await post(any_api, "k1")
    await any_api.http.delete(first.headers["location"])
    any_api.clock.advance(DAY - 1)
    woken = any_api.relay.woken
    again = await post(any_api, "k1", dict(reversed(BODY.items())))
    assert (again.status_code, again.json()) == (201, first.json())
    assert "secret" in again.json()["endpoint"]
    assert again.json()["metadata"] == {"secret": "theirs"}
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert any_api.relay.woken == woken


async def test_stored_responses_hold_no_secret(api: Api) -> None:
    """The secret is in one place of the store only: its endpoint."""
    made = await post(api, "k1")
    brought = await post(api, "k2", {**BODY, "job_id": "j2", "secret": SECRET})
    rows = await api.relay.store.read(lambda tx: tx.execute(select(idempotency)).all())
    assert len(rows) == 2
    kept = " ".join(str(value) for row in rows for value in row)  # a row's own text leaves out its middle
    assert "ep_" in kept
    assert [secret for secret in (SECRET, made.json()["endpoint"]["secret"]) if secret in kept] == []
    assert brought.status_code == 201
    assert "k1" not in str(rows[0].key)


async def test_a_key_of_another_request_is_refused(api: Api) -> None:
    """409, and nothing is done."""
    await post(api, "k1")
    stored = await api.stored()
    assert_refused(await post(api, "k1", {**BODY, "job_id": "j2"}), 409, "idempotency_key_reused", "idempotency-key")
    assert await api.stored() == stored


async def test_keys_belong_to_one_api_key_and_call(sqlite_url: str, clock: Clock) -> None:
    """An Idempotency-Key counts for one API key and one call only; after a day it is free again."""
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS}) as api:
        sales, support = ({"Authorization": f"Bearer {key['key']}"} for key in KEYS)
        await post(api, "k1", **sales)
        assert (await post(api, "k1", {"job_id": "j2"}, **support)).status_code == 201
        batch = {"registrations": [{"job_id": "j3"}]}
        assert (await post(api, "k1", batch, f"{REGISTRATIONS}/batch", **sales)).status_code == 200
        clock.advance(DAY)
        assert_later = await post(api, "k1", {"job_id": "j4"}, **sales)
        assert (assert_later.status_code, "idempotent-replayed" in assert_later.headers) == (201, False)
        again = await post(api, "k1", {"job_id": "j4"}, **sales)
        assert (again.json(), again.headers["idempotent-replayed"]) == (assert_later.json(), "true")


async def test_concurrent_repeats_run_once(any_api: Api) -> None:
    """All get the same response."""
    answers = await asyncio.gather(*(post(any_api, "k1", {"job_id": "j1"}) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 39
    assert await any_api.stored() == {"idempotency": 1, "registrations": 1, "watches": 1}


async def test_refusals_are_not_stored(api: Api) -> None:
    """A refused request can be corrected and sent again with the same key."""
    wrong = {"job_id": "j1", "endpoint": "nobody"}
    assert_refused(await post(api, "k1", wrong), 400, "unknown_endpoint", "endpoint")
    assert (await post(api, "k1")).status_code == 201


async def test_batches_and_endpoints_repeat_too(api: Api) -> None:
    """Every secret of the first answer is in the second."""
    items = [{"job_id": "j1", "callback_url": f"https://e{number}.example/"} for number in range(3)]
    calls: list[tuple[str, Any]] = [
        (f"{REGISTRATIONS}/batch", {"registrations": [*items, {"job_id": "no spaces"}]}),
        ("/v1/endpoints", {"url": "https://example.com/all"}),
    ]
    for path, body in calls:
        first, again = await post(api, "k1", body, path), await post(api, "k1", body, path)
        assert again.content == first.content
        assert again.status_code == first.status_code
        assert "whsec_" in first.text
        assert "idempotent-replayed" in again.headers


async def test_a_removed_endpoint_is_shown_without_its_secret(api: Api) -> None:
    """The rest of the response stays."""
    first = (await post(api, "k1", {"url": "https://example.com/"}, "/v1/endpoints")).json()
    await api.http.delete(f"/v1/endpoints/{first['id']}")
    again = (await post(api, "k1", {"url": "https://example.com/"}, "/v1/endpoints")).json()
    assert again == {name: value for name, value in first.items() if name != "secret"}


@pytest.mark.parametrize("rotation", [{}, {"signing": "ed25519"}], ids=["another secret", "a private key"])
async def test_a_repeat_after_a_rotation_shows_no_secret(any_api: Api, rotation: dict[str, str]) -> None:
    """A repeat shows the secret of the first response, or none."""
    calls: list[tuple[str, Any]] = [
        (REGISTRATIONS, BODY),
        (f"{REGISTRATIONS}/batch", {"registrations": [{**BODY, "callback_url": "https://example.com/batch"}]}),
        ("/v1/endpoints", {"url": "https://example.com/all"}),
    ]
    for path, body in calls:
        first = await post(any_api, "k1", body, path)
        [endpoint] = _endpoints_of(first.json())
        rotated = await any_api.post(f"/v1/endpoints/{endpoint['id']}/rotate-secret", rotation)
        [current, _] = await any_api.secrets_of(endpoint["id"])
        again = await asyncio.gather(*(post(any_api, "k1", body, path) for _ in range(5)))
        for answer in again:
            assert answer.headers["idempotent-replayed"] == "true"
            [shown] = _endpoints_of(answer.json())
            assert shown == {name: value for name, value in endpoint.items() if name != "secret"}
            assert current.value not in answer.text
        assert rotated.get("secret", current.value) == current.value


def _endpoints_of(answer: Any) -> list[Any]:
    """The endpoints in an answer of any of the calls."""
    if "data" in answer:
        return [item["registration"]["endpoint"] for item in answer["data"]]
    return [answer.get("endpoint", answer)]


@shared
@pytest.mark.parametrize("key", ["", "a" * 256, "ü", "a\tb", "a\x7f"])
async def test_malformed_idempotency_keys_are_refused(shared_api: Api, key: str) -> None:
    """A key has 1 to 255 printable characters."""
    before = await shared_api.stored()
    answer = await shared_api.http.post(REGISTRATIONS, json=BODY, headers={b"Idempotency-Key": key.encode()})
    assert_refused(answer, 400, "invalid_idempotency_key", "idempotency-key")
    assert await shared_api.stored() == before
