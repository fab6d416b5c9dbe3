"""Reloading: which changes of the configuration a running relay applies, and which need a restart."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from relay.config import Config, Workspace


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """The result of a reload."""

    config: Config
    new_keys: tuple[Workspace, ...]
    """Workspaces whose API key at Exec changed."""
    needs_restart: tuple[str, ...]
    """Dotted keys, never values, whose changes apply only after a restart."""

    def summary(self) -> str:
        """What was applied, for the log."""
        counts = f"{len(self.config.endpoints)} endpoints, {len(self.config.security.api_keys)} API keys"
        return f"{counts}, {len(self.new_keys)} new Exec keys"


def merge_reload(old: Config, new: Config, store_has_keys: bool = False) -> ReloadResult:
    """The old configuration with the endpoints, `operator`, API keys and Exec keys of the new one.

    A relay without any API key is open to everybody who reaches it. So removing the last one needs a restart, which
    checks `server.host`, unless the store has keys.
    """
    would_be_open = bool(old.security.api_keys) and not new.security.api_keys and not store_has_keys
    keys = old.security.api_keys if would_be_open else new.security.api_keys
    by_name = {space.name: space for space in new.workspaces}
    spaces = [_with_key_of(space, by_name.get(space.name, space)) for space in old.workspaces]
    config = old.model_copy(
        update={
            "endpoints": new.endpoints,
            "operator": new.operator,
            "security": old.security.model_copy(update={"api_keys": keys}),
            "workspaces": tuple(spaces),
        }
    )
    changed = [now for now, before in zip(spaces, old.workspaces, strict=True) if now != before]
    return ReloadResult(config, tuple(changed), tuple(_changed(config, new)))


def _with_key_of(space: Workspace, key_source: Workspace) -> Workspace:
    return space.model_copy(update={"api_key": key_source.api_key})


def _changed(old: Config, new: Config) -> Iterator[str]:
    """The keys that differ. Workspaces inherit from `exec`, so they are named only if `exec` does not differ."""
    keys = []
    for section, value in old:
        new_value = getattr(new, section)
        if isinstance(value, BaseModel):
            keys += [f"{section}.{key}" for key, item in value if getattr(new_value, key) != item]
    yield from keys
    if old.workspaces != new.workspaces and not any(key.startswith("exec.") for key in keys):
        yield "workspaces"
