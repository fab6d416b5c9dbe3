"""Making a configuration: what was read is judged, and every problem told at once."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from relay import config_text
from relay.config.api_keys import with_hashes
from relay.config.contradictions import contradictions, sound
from relay.config.sections import Config, Exec, Workspace
from relay.config_text import Place, Problem, Source, values
from relay.errors import ConfigError
from relay.nearest import closest, nearest

_SHARED = ("api_key", "base_url", "budget")
_IN_OUR_WORDS = {"missing": "is missing", "model_type": "must hold keys and values"}


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file (None: of the environment alone), environment before file, defaults last.

    Raises ConfigError that lists every problem, each with file, line and key and what to write instead.
    """
    return _made(config_text.read(path, environ, Config))


def from_mapping(data: Mapping[str, Any]) -> Config:
    """The same rules for values that are no file. Raises ConfigError."""
    return _made(Source(dict(data)))


def _made(source: Source) -> Config:
    data, problems = with_hashes(source.data)
    try:
        config, faulty = Config.model_validate(data), frozenset[Place]()
    except ValidationError as error:
        faults = error.errors(include_url=False)
        problems += [_problem(fault) for fault in faults]
        faulty = frozenset(fault["loc"][:2] for fault in faults)
        config = Config.model_validate(sound(data, faulty))
    if told := source.report([*problems, *contradictions(config, data, faulty)]):
        raise ConfigError(told)
    return _with_workspaces(config)


def _problem(fault: Any) -> Problem:
    """What pydantic found, in our words. The wrong value is only looked at, to say what is close to it."""
    place, kind = fault["loc"], fault["type"]
    if kind == "extra_forbidden":
        names = config_text.names_at(Config, place[:-1])
        return Problem(place, f"unknown key{nearest(str(place[-1]), sorted(names))}")
    if kind in ("literal_error", "enum"):
        known = re.findall("'([^']+)'", fault["ctx"]["expected"])
        return Problem(place, f"must be one of {', '.join(known)}{closest(str(fault['input']), known)}")
    if isinstance(error := fault.get("ctx", {}).get("error"), values.Misplaced):
        place = (*place, *error.place)
    text = _IN_OUR_WORDS.get(kind) or str(fault["msg"]).removeprefix("Value error, ")
    return Problem(place, text[0].lower() + text[1:])


def _with_workspaces(config: Config) -> Config:
    exec = config.exec
    spaces = tuple(_inheriting(space, exec) for space in config.workspaces)
    if exec.api_key is not None:
        spaces = (Workspace.model_construct(name="default", **{part: getattr(exec, part) for part in _SHARED}),)
    return config.model_copy(update={"exec": exec.model_copy(update={"api_key": None}), "workspaces": spaces})


def _inheriting(space: Workspace, exec: Exec) -> Workspace:
    own = {part: getattr(space.budget, part) for part in space.budget.model_fields_set}
    base_url = space.base_url if "base_url" in space.model_fields_set else exec.base_url
    return space.model_copy(update={"base_url": base_url, "budget": exec.budget.model_copy(update=own)})
