"""Ids and names in paths and filters."""

import re
from collections.abc import Collection

from relay.errors import NotFound, ValidationFailed
from relay.model import JOB_ID
from relay.store import Tx
from relay.store.tables import endpoints

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")


def parse_id(text: str, noun: str) -> str:
    """An id in a path. Raises NotFound for a malformed id: nothing has it."""
    if not _ID.fullmatch(text):
        raise NotFound(f"{noun}_not_found", f"there is no {noun} with this id")
    return text


def job_id(text: str) -> str:
    """A job id in a path. Raises ValidationFailed for a malformed one."""
    if not JOB_ID.fullmatch(text):
        raise ValidationFailed(
            "invalid_job_id", "a job id is 1 to 128 letters, digits, - or _, as Exec gave it", "job_id"
        )
    return text


def endpoint_id(tx: Tx, text: str | None) -> str | None:
    """The id of the endpoint that a filter names, by name or id; a removed one by id only.

    Raises ValidationFailed for an unknown name.
    """
    if text is None or text.startswith("ep_"):
        return text
    if (endpoint := endpoints.by_name(tx, text)) is None:
        raise ValidationFailed("unknown_endpoint", "there is no endpoint with this id or name", "endpoint")
    return endpoint.id


def workspace_from_path(name: str, workspaces: Collection[str]) -> str:
    """A workspace in a path. Raises NotFound for an unknown one."""
    if name not in workspaces:
        text = f"there is no such workspace; this relay knows {', '.join(sorted(workspaces))}"
        raise NotFound("workspace_not_found", text)
    return name


def workspace_from_query(name: str | None, workspaces: Collection[str]) -> str | None:
    """The workspace of a filter. Raises ValidationFailed for an unknown one."""
    if name is not None and name not in workspaces:
        text = f"there is no such workspace; this relay knows {', '.join(sorted(workspaces))}"
        raise ValidationFailed("unknown_workspace", text, "workspace")
    return name
