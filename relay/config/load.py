"""Making a configuration: what was read is judged, and every problem told at once."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from relay.config import parsers, reader
from relay.config.api_keys import with_hashes
from relay.config.consistency import check_consistency, without_invalid_parts
from relay.config.reader import KeyPath, Problem, Source
from relay.config.schema import Config, ExecSection, Workspace
from relay.errors import ConfigError
from relay.suggestions import did_you_mean, did_you_mean_or_list

_SHARED = ("api_key", "base_url", "budget")
_MESSAGES = {"missing": "is missing", "model_type": "must hold keys and values"}


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file (None: of the environment alone), environment before file, defaults last.

    Raises ConfigError that lists every problem, each with file, line and key and what to write instead.
    """
    return _validate(reader.read_source(path, environ, Config))


def from_mapping(data: Mapping[str, Any]) -> Config:
    """The same rules for values that are no file. Raises ConfigError."""
    return _validate(Source(dict(data)))


def _validate(source: Source) -> Config:
    data, problems = with_hashes(source.data)
    try:
        config, faulty = Config.model_validate(data), frozenset[KeyPath]()
    except ValidationError as error:
        faults = error.errors(include_url=False)
        problems += [_problem(fault) for fault in faults]
        faulty = frozenset(fault["loc"][:2] for fault in faults)
        config = Config.model_validate(without_invalid_parts(data, faulty))
    if told := source.report([*problems, *check_consistency(config, data, faulty)]):
        raise ConfigError(told)
    return _with_workspaces(config)


def _problem(fault: Any) -> Problem:
    """What pydantic found, in our words. The wrong value is only used to say what is close to it."""
    place, kind = fault["loc"], fault["type"]
    if kind == "extra_forbidden":
        names = reader.known_keys(Config, place[:-1])
        return Problem(place, f"unknown key{did_you_mean_or_list(str(place[-1]), sorted(names))}")
    if kind in ("literal_error", "enum"):
        known = re.findall("'([^']+)'", fault["ctx"]["expected"])
        return Problem(place, f"must be one of {', '.join(known)}{did_you_mean(str(fault['input']), known)}")
    if isinstance(error := fault.get("ctx", {}).get("error"), parsers.NestedError):
        place = (*place, *error.place)
    text = _MESSAGES.get(kind) or str(fault["msg"]).removeprefix("Value error, ")
    return Problem(place, text[0].lower() + text[1:])


def _with_workspaces(config: Config) -> Config:
    exec = config.exec
    spaces = tuple(_with_defaults_from(space, exec) for space in config.workspaces)
    if exec.api_key is not None:
        spaces = (Workspace.model_construct(name="default", **{part: getattr(exec, part) for part in _SHARED}),)
    return config.model_copy(update={"exec": exec.model_copy(update={"api_key": None}), "workspaces": spaces})


def _with_defaults_from(space: Workspace, exec: ExecSection) -> Workspace:
    own = {part: getattr(space.budget, part) for part in space.budget.model_fields_set}
    base_url = space.base_url if "base_url" in space.model_fields_set else exec.base_url
    return space.model_copy(update={"base_url": base_url, "budget": exec.budget.model_copy(update=own)})
