"""Loads the configuration: reads it, validates it, and reports every problem at once."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from relay.config import environment, parsers, reader
from relay.config.api_keys import with_hashes
from relay.config.consistency import check_consistency, without_invalid_parts
from relay.config.reader import KeyPath, Problem, Source
from relay.config.schema import Config, ExecSection, Workspace
from relay.config.source_map import variables
from relay.errors import ConfigError
from relay.suggestions import did_you_mean, did_you_mean_or_list

_INHERITED = ("api_key", "base_url", "budget")
_API_KEY: KeyPath = ("exec", "api_key")
_MESSAGES = {"missing": "is missing", "model_type": "must hold keys and values"}


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file (None: of the environment alone). The environment wins over the file.

    Raises ConfigError that lists every problem with its file, line, key and what to write instead.
    """
    source = reader.read_source(path, environ, Config)
    _apply_exec_api_key(source, environ)
    return _validate(source)


def from_mapping(data: Mapping[str, Any]) -> Config:
    """The configuration of a mapping, by the same rules. Raises ConfigError."""
    return _validate(Source(dict(data)))


def unused_variables(environ: Mapping[str, str]) -> list[str]:
    """A warning for each `RELAY_` variable that sets nothing."""
    return list(environment.unused_variables(environ, variables(Config)))


def _apply_exec_api_key(source: Source, environ: Mapping[str, str]) -> None:
    """`EXEC_API_KEY` sets `exec.api_key` if nothing else sets a key of Exec's."""
    section = source.data.get("exec")
    is_set = (section.get("api_key") is not None) if isinstance(section, Mapping) else section is not None
    if is_set or _API_KEY in source.invalid or source.data.get("workspaces"):
        return
    for variable in ("EXEC_API_KEY", "EXEC_API_KEY_FILE"):
        if environ.get(variable):
            reader.set_from_variable(source, Config, _API_KEY, variable, environ)


def _validate(source: Source) -> Config:
    data, problems = with_hashes(source.data)
    try:
        config, faulty = Config.model_validate(data), frozenset[KeyPath]()
    except ValidationError as error:
        faults = error.errors(include_url=False)
        problems += [_problem(fault) for fault in faults]
        faulty = frozenset(fault["loc"][:2] for fault in faults)
        config = Config.model_validate(without_invalid_parts(data, faulty))
    if report := source.report([*problems, *check_consistency(config, data, faulty)]):
        raise ConfigError(report)
    return _with_workspaces(config)


def _problem(fault: Any) -> Problem:
    """A pydantic error in the relay's words. The wrong value only serves to suggest a similar name."""
    path, kind = fault["loc"], fault["type"]
    if kind == "extra_forbidden":
        names = reader.known_keys(Config, path[:-1])
        return Problem(path, f"unknown key{did_you_mean_or_list(str(path[-1]), sorted(names))}")
    if kind in ("literal_error", "enum"):
        choices = re.findall("'([^']+)'", fault["ctx"]["expected"])
        return Problem(path, f"must be one of {', '.join(choices)}{did_you_mean(str(fault['input']), choices)}")
    if isinstance(error := fault.get("ctx", {}).get("error"), parsers.NestedError):
        path = (*path, *error.path)
    text = _MESSAGES.get(kind) or str(fault["msg"]).removeprefix("Value error, ")
    return Problem(path, text[0].lower() + text[1:])


def _with_workspaces(config: Config) -> Config:
    exec = config.exec
    spaces = tuple(_with_defaults_from(space, exec) for space in config.workspaces)
    if exec.api_key is not None:
        spaces = (Workspace.model_construct(name="default", **{part: getattr(exec, part) for part in _INHERITED}),)
    return config.model_copy(update={"exec": exec.model_copy(update={"api_key": None}), "workspaces": spaces})


def _with_defaults_from(space: Workspace, exec: ExecSection) -> Workspace:
    own_budget = {part: getattr(space.budget, part) for part in space.budget.model_fields_set}
    base_url = space.base_url if "base_url" in space.model_fields_set else exec.base_url
    return space.model_copy(update={"base_url": base_url, "budget": exec.budget.model_copy(update=own_budget)})
