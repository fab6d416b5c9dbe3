"""What a running relay takes over of a changed configuration, and what it says of the rest."""

from typing import Any

import pytest

from relay import config
from relay.config import Config
from relay.config.reload import merge_reload

KEY, OTHER = "exec_live_" + "a" * 40, "exec_live_" + "b" * 40
API_KEY = "relay_" + "k" * 43


def made(**sections: Any) -> Config:
    return config.from_mapping({"exec": {"api_key": KEY}} | sections)


def test_an_unchanged_configuration_changes_nothing() -> None:
    """There is no new key, and no restart is needed."""
    found = merge_reload(made(), made())
    assert (found.config, found.new_keys, found.needs_restart) == (made(), (), ())


def test_endpoints_and_keys_are_applied() -> None:
    """Endpoints, the operator's among them, API keys and Exec's key are those of the new configuration."""
    endpoint = {"name": "ops", "url": "https://example.com/ops"}
    operator = {"endpoints": ["ops"], "max_per_hour": 3}
    new = made(exec={"api_key": OTHER}, endpoints=[endpoint], operator=operator, security={"api_keys": [API_KEY]})
    found = merge_reload(made(), new)
    assert found.config == new
    assert [(one.name, one.api_key.get_secret_value()) for one in found.new_keys] == [("default", OTHER)]
    assert found.needs_restart == ()
    assert OTHER not in repr(found)


@pytest.mark.parametrize(
    ("section", "changed", "named"),
    [
        ("polling", {"interval": "30s"}, ["polling.interval"]),
        ("exec", {"api_key": KEY, "timeout": "3s"}, ["exec.timeout"]),
        ("exec", {"api_key": KEY, "base_url": "https://exec.example/v1"}, ["exec.base_url"]),
        ("exec", {"api_key": KEY, "budget": {"share": 0.5}}, ["exec.budget"]),
        ("security", {"secret_key": "s" * 32, "allow_http": True}, ["security.secret_key", "security.allow_http"]),
        ("logging", {"level": "debug"}, ["logging.level"]),
        ("storage", {"url": "sqlite:///other.db"}, ["storage.url"]),
    ],
)
def test_other_changes_need_a_restart(section: str, changed: dict[str, Any], named: list[str]) -> None:
    """They keep their old values, and are named without their values."""
    found = merge_reload(made(), made(**{section: changed}))
    assert found.config == made()
    assert list(found.needs_restart) == named


def test_every_key_is_applied_or_named() -> None:
    """No section or key is forgotten."""
    new = made(
        polling={"tick": "2s"},
        delivery={"per_host": 9},
        server={"port": 9_999},
        storage={"retention": "2d"},
        logging={"format": "text"},
        security={"deny_networks": ["10.0.0.0/8"]},
    )
    found = merge_reload(made(), new)
    again = merge_reload(found.config, new)
    assert set(found.needs_restart) == {
        "polling.tick",
        "delivery.per_host",
        "server.port",
        "storage.retention",
        "logging.format",
        "security.deny_networks",
    }
    assert again == found, "what needs a restart is named each time, until there was one"


def test_removing_the_last_api_key_needs_a_restart() -> None:
    """A relay without keys answers everybody; only a start checks server.host."""
    old = made(security={"api_keys": [API_KEY]}, server={"host": "0.0.0.0"})  # noqa: S104
    found = merge_reload(old, made())
    assert found.config.security.api_keys == old.security.api_keys
    assert set(found.needs_restart) == {"security.api_keys", "server.host"}


def test_the_last_configured_key_is_removed_if_the_store_has_keys() -> None:
    """The relay still requires keys, and a leaked key is revoked at once."""
    old = made(security={"api_keys": [API_KEY]}, server={"host": "0.0.0.0"})  # noqa: S104
    found = merge_reload(old, made(server={"host": "0.0.0.0"}), store_has_keys=True)  # noqa: S104
    assert found.config.security.api_keys == ()
    assert found.needs_restart == ()


def test_workspaces_change_their_keys_only() -> None:
    """Adding, removing or otherwise changing a workspace needs a restart."""
    spaces = [{"name": "a", "api_key": KEY}, {"name": "b", "api_key": KEY + "b"}]
    other = [{"name": "b", "api_key": OTHER, "budget": {"share": 0.5}}, {"name": "c", "api_key": OTHER + "c"}]
    old = config.from_mapping({"workspaces": spaces})
    found = merge_reload(old, config.from_mapping({"workspaces": other}))
    assert [(one.name, one.api_key.get_secret_value()) for one in found.config.workspaces] == [("a", KEY), ("b", OTHER)]
    assert [one.name for one in found.new_keys] == ["b"]
    assert found.config.workspaces[1].budget == old.workspaces[1].budget
    assert found.needs_restart == ("workspaces",)
