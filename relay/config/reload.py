"""Reloading: what a running relay takes over of a changed configuration, and what of it needs a restart."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from relay.config import Config, Workspace


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What holds from now on. The keys are dotted, and never values."""

    config: Config
    new_keys: tuple[Workspace, ...]
    """Workspaces whose API key is another one now."""
    needs_restart: tuple[str, ...]
    """Keys that were changed and stay as they were until the relay is started again."""

    def summary(self) -> str:
        """What was taken over, in words for the log."""
        counts = f"{len(self.config.endpoints)} endpoints, {len(self.config.security.api_keys)} API keys"
        return f"{counts}, {len(self.new_keys)} new Exec keys"


def merge_reload(old: Config, new: Config, store_has_keys: bool = False) -> ReloadResult:
    """The configuration with the endpoints, API keys and Exec keys of the new one, all else as it was.

    Without its last API key a relay would be open to whoever reaches it, so that this too needs a restart, which judges
    `server.host` anew; unless it has keys in its store.
    """
    would_be_open = bool(old.security.api_keys) and not new.security.api_keys and not store_has_keys
    keys = old.security.api_keys if would_be_open else new.security.api_keys
    known = {space.name: space for space in new.workspaces}
    spaces = [_with_key_of(space, known.get(space.name, space)) for space in old.workspaces]
    config = old.model_copy(
        update={
            "endpoints": new.endpoints,
            "security": old.security.model_copy(update={"api_keys": keys}),
            "workspaces": tuple(spaces),
        }
    )
    changed = [now for now, before in zip(spaces, old.workspaces, strict=True) if now != before]
    return ReloadResult(config, tuple(changed), tuple(_changed(config, new)))


def _with_key_of(space: Workspace, other: Workspace) -> Workspace:
    return space.model_copy(update={"api_key": other.api_key})


def _changed(ours: Config, wanted: Config) -> Iterator[str]:
    """Where two configurations differ. Workspaces are no section, and inherit from `exec`: named where only they do."""
    found = []
    for section, value in ours:
        other = getattr(wanted, section)
        if isinstance(value, BaseModel):
            found += [f"{section}.{key}" for key, item in value if getattr(other, key) != item]
    yield from found
    if ours.workspaces != wanted.workspaces and not any(key.startswith("exec.") for key in found):
        yield "workspaces"
