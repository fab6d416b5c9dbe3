"""What callers point to: ids and names, as paths and filters have them."""

import re
from collections.abc import Collection

from relay.errors import NotFound, ValidationFailed
from relay.model import JOB_ID
from relay.store.engine.database import Tx
from relay.store.tables import endpoints

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")


def parse_id(text: str, what: str) -> str:
    """An id out of a path. Raises NotFound for a text that no id is: it names nothing."""
    if not _ID.fullmatch(text):
        raise NotFound(f"{what}_not_found", f"there is no {what} with this id")
    return text


def job_id(text: str) -> str:
    """A job id out of a path. Raises Invalid for what none is."""
    if not JOB_ID.fullmatch(text):
        raise ValidationFailed(
            "invalid_job_id", "a job id is 1 to 128 letters, digits, - or _, as Exec gave it", "job_id"
        )
    return text


def endpoint_id(tx: Tx, text: str | None) -> str | None:
    """The id of the endpoint that a filter means, by name or id; one that was removed is known by its id.

    Raises Invalid for a name that no endpoint has.
    """
    if text is None or text.startswith("ep_"):
        return text
    if (found := endpoints.by_name(tx, text)) is None:
        raise ValidationFailed("unknown_endpoint", "there is no endpoint with this id or name", "endpoint")
    return found.id


def workspace_from_path(name: str, known: Collection[str]) -> str:
    """A workspace out of a path. Raises NotFound for one that the relay does not know."""
    if name not in known:
        text = f"there is no such workspace; this relay knows {', '.join(sorted(known))}"
        raise NotFound("workspace_not_found", text)
    return name


def workspace_from_query(name: str | None, known: Collection[str]) -> str | None:
    """The workspace that a filter means. Raises Invalid for one that the relay does not know."""
    if name is not None and name not in known:
        text = f"there is no such workspace; this relay knows {', '.join(sorted(known))}"
        raise ValidationFailed("unknown_workspace", text, "workspace")
    return name
