"""Endpoints with their own template."""

import json

from relay.store.tables import deliveries
from tests.web.conftest import Api

OWN = {"text": "{{ headline }}", "job": "{{ job.id }}"}


async def test_the_template_is_the_body(api: Api) -> None:
    """The delivery's body is the filled template; the endpoint shows the template as given."""
    made = await api.make_endpoint(template=OWN)
    assert (made["format"], made["template"]) == ("template", OWN)
    await api.register(callback_url=None)
    [delivery] = await api.deliver()
    found = await api.relay.store.read(lambda tx: deliveries.get(tx, delivery))
    assert found is not None
    assert json.loads(found.body) == {"text": "Scenario ready", "job": "j1"}


async def test_a_wrong_template_is_refused_with_its_path(api: Api) -> None:
    """The field names the text at fault, and nothing is stored."""
    body = {"url": "https://example.com/x", "template": {"a": [{"b": "{{ job.idd }}"}]}}
    refused = await api.post("/v1/endpoints", body, 400)
    assert refused["error"]["code"] == "invalid_template"
    assert refused["error"]["field"] == "template.a[0].b"
    assert 'did you mean "job.id"?' in refused["error"]["message"]
    both = await api.post("/v1/endpoints", body | {"template": OWN, "format": "slack"}, 400)
    assert both["error"]["code"] == "two_formats"
    assert await api.stored() == {}


async def test_templates_can_be_changed_and_removed(api: Api) -> None:
    """PATCH gives another template, keeps it with other changes, and goes back to a format."""
    made = await api.make_endpoint()
    path = f"/v1/endpoints/{made['id']}"

    async def patched(**change: object) -> tuple[str, object]:
        answer = await api.http.patch(path, json=change)
        assert answer.status_code == 200, answer.text
        return answer.json()["format"], answer.json()["template"]

    assert await patched(template=OWN) == ("template", OWN)
    assert await patched(headers={"x-a": "b"}) == ("template", OWN)
    assert await patched(template={"other": "{{ type }}"}) == ("template", {"other": "{{ type }}"})
    assert await patched(format="discord") == ("discord", None)


async def test_registrations_have_no_template(api: Api) -> None:
    """The format belongs to standing endpoints, and the refusal says so."""
    body = {"job_id": "j1", "callback_url": "https://example.com/x", "format": "template"}
    refused = await api.post("/v1/registrations", body, 400)
    assert "standing endpoints" in refused["error"]["message"]
