"""An endpoint's secret over HTTP: shown once, rotated, never repeated."""

from typing import Any

import pytest

from relay.model import DAY, Secret
from tests.web.conftest import OTHER_SECRET, SECRET, Api

ENDPOINTS = "/v1/endpoints"


async def test_a_rotation_shows_the_new_secret_once(api: Api) -> None:
    """The old one also signs for a day."""
    made = await api.make_endpoint()
    path = f"{ENDPOINTS}/{made['id']}"
    rotated = await api.post(f"{path}/rotate-secret")
    assert rotated["old_secret_until"] == "2024-03-02T12:00:00.000Z"
    assert await api.secrets_of(made["id"]) == (
        Secret(rotated["secret"]),
        Secret(made["secret"], api.clock() + DAY),
    )
    own = await api.post(f"{path}/rotate-secret", {"secret": SECRET})
    assert own["secret"] == SECRET
    assert "secret" not in await api.get(path)
    api.clock.advance(DAY)
    await api.post(f"{path}/rotate-secret", {"secret": OTHER_SECRET})
    assert [one.value for one in await api.secrets_of(made["id"])] == [OTHER_SECRET, SECRET]


async def test_at_most_five_secrets_sign_after_many_rotations(api: Api) -> None:
    """And none twice."""
    made = await api.make_endpoint()
    path = f"{ENDPOINTS}/{made['id']}/rotate-secret"
    for _ in range(8):
        await api.post(path)
    kept = await api.secrets_of(made["id"])
    assert len({secret.value for secret in kept}) == len(kept) == 5
    await api.post(path, {"secret": kept[0].value})
    assert [one.value for one in await api.secrets_of(made["id"])] == [one.value for one in kept]


async def test_malformed_secrets_are_refused(api: Api) -> None:
    """The text is not repeated, and the old secret stays."""
    made = await api.make_endpoint()
    bad: list[Any] = [{"secret": "hidden"}, {"secret": 5}, {"secrets": SECRET}, []]
    for body in bad:
        answer = await api.http.post(f"{ENDPOINTS}/{made['id']}/rotate-secret", json=body)
        assert answer.status_code == 400
        assert "hidden" not in answer.text
    assert [one.value for one in await api.secrets_of(made["id"])] == [made["secret"]]


@pytest.mark.parametrize("brought", [None, SECRET])
async def test_a_registration_s_secret_can_be_rotated(any_api: Api, brought: str | None) -> None:
    """The same callback URL still identifies that endpoint: with no secret, or with the new one, never with the old."""
    fields: dict[str, Any] = {"secret": brought} if brought else {}
    made = await any_api.register("j1", **fields)
    id = made["endpoint"]["id"]
    await any_api.post(f"{ENDPOINTS}/{id}/rotate-secret", {"secret": OTHER_SECRET})
    again: dict[str, Any] = {"secret": OTHER_SECRET} if brought else {}
    assert (await any_api.register("j2", **again))["endpoint"]["id"] == id
    if brought:
        assert (await any_api.register("j3", secret=brought))["endpoint"]["id"] != id
