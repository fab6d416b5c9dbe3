"""`zapier`: Catch Hook and REST Hooks, a flat object (`flat.py` lists its keys).

The metadata of the job's registrations comes after as `metadata_KEY`, one key each; lists and objects in it as JSON
text. A Zap sees those keys whenever somebody registered the job with them.

Zapier takes about 30 requests a second at one hook; 410 is its unsubscribe and is judged for every format alike.
"""

from relay.formats.base import Format
from relay.formats.flat import flat_fields, flat_metadata
from relay.model import Event, Registration


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """The flat fields, then the metadata."""
    return {**flat_fields(event, registration), **flat_metadata(event, registration)}


def _recognises(host: str, path: str) -> bool:
    return host == "hooks.zapier.com" and path.startswith(("/hooks/catch/", "/hooks/standard/"))


FORMAT = Format(body=body, matches_url=_recognises, rate_per_second=25)
