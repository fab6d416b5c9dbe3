"""The signature scheme of an endpoint: chosen at creation, with a public key if it has one, changed by a rotation."""

import pytest

from relay.model import DAY
from relay.signing import SignatureScheme, standard_webhooks
from tests.web.conftest import Api

PRIVATE = standard_webhooks.new_secret(b"s" * 32, SignatureScheme.ED25519)
PUBLIC = standard_webhooks.public_key_of(PRIVATE)


async def test_ed25519_shows_only_its_public_key(api: Api) -> None:
    """The subscriber gets the key that verifies; the key that signs is in no response."""
    made = await api.make_endpoint(signing="ed25519")
    assert made["signing"] == "ed25519"
    assert made["public_key"].startswith("whpk_")
    assert "secret" not in made
    [secret] = await api.secrets_of(made["id"])
    shown = await api.http.get(f"/v1/endpoints/{made['id']}")
    assert shown.json()["public_key"] == made["public_key"] == standard_webhooks.public_key_of(secret.value)
    assert secret.value not in shown.text
    assert (await api.make_endpoint(200, signing="ed25519"))["id"] == made["id"]
    await api.make_endpoint(409)


async def test_a_given_private_key_signs(api: Api) -> None:
    """A secret implies its scheme; giving `signing` too is refused."""
    made = await api.make_endpoint(secret=PRIVATE)
    assert (made["signing"], made["public_key"]) == ("ed25519", PUBLIC)
    body = {"url": "https://example.com/other", "secret": PRIVATE, "signing": "ed25519"}
    refused = await api.post("/v1/endpoints", body, 400)
    assert refused["error"]["field"] == "signing"


async def test_registrations_choose_the_scheme(api: Api) -> None:
    """One URL, once signed with a secret and once with Ed25519, is two endpoints; each is found again."""
    with_secret = await api.register()
    with_key = await api.register(signing="ed25519")
    assert with_key["endpoint"]["public_key"].startswith("whpk_")
    assert "secret" not in with_key["endpoint"]
    assert "public_key" not in with_secret["endpoint"]
    assert with_key["endpoint"]["id"] != with_secret["endpoint"]["id"]
    assert (await api.register(status=200, signing="ed25519"))["id"] == with_key["id"]
    assert (await api.register(status=200))["id"] == with_secret["id"]


@pytest.mark.parametrize(("before", "signing", "after"), [("hmac", "ed25519", "ed25519"), ("ed25519", None, "ed25519")])
async def test_rotation_keeps_or_changes_the_scheme(api: Api, before: str, signing: str | None, after: str) -> None:
    """By default it stays; the old key signs beside the new one for a day."""
    made = await api.make_endpoint(signing=before)
    rotated = await api.post(f"/v1/endpoints/{made['id']}/rotate-secret", {"signing": signing} if signing else {})
    assert rotated["signing"] == after
    assert rotated["public_key"] != made["public_key"]
    kept = await api.secrets_of(made["id"])
    assert [standard_webhooks.scheme_of(secret.value).value for secret in kept] == [after, before]
    assert kept[1].until == api.clock() + DAY


async def test_public_keys_are_for_everybody(api: Api) -> None:
    """Receivers can fetch the public keys, both during a rotation; a shared secret is never shown."""
    made = await api.make_endpoint(signing="ed25519")
    path = f"/v1/endpoints/{made['id']}/public-keys"
    assert await api.get(path) == {"public_keys": [made["public_key"]]}
    rotated = await api.post(f"/v1/endpoints/{made['id']}/rotate-secret", {})
    assert await api.get(path) == {"public_keys": [rotated["public_key"], made["public_key"]]}
    api.clock.advance(DAY)
    assert await api.get(path) == {"public_keys": [rotated["public_key"]]}
    shared = await api.post("/v1/endpoints", {"url": "https://example.com/hmac"}, 201)
    assert await api.get(f"/v1/endpoints/{shared['id']}/public-keys") == {"public_keys": []}
