"""`zapier`: Catch Hook and REST Hooks, a flat object (`flat.py` lists its keys).

What the registration's metadata holds comes after as `metadata_KEY`, one key each; lists and objects in it as JSON
text. A Zap sees those keys whenever its registrations carry them; a standing endpoint has no registration, so none.

Zapier takes about 30 requests a second at one hook; 410 is its unsubscribe and is judged for every format alike.
"""

import json

from relay.formats.base import Format
from relay.formats.flat import flat_fields
from relay.model import Event, Registration


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """The flat fields, then the metadata."""
    metadata = registration.metadata if registration else {}
    return {
        **flat_fields(event, registration),
        **{f"metadata_{key}": _flattened(value) for key, value in metadata.items()},
    }


def _flattened(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _recognises(host: str, path: str) -> bool:
    return host == "hooks.zapier.com" and path.startswith(("/hooks/catch/", "/hooks/standard/"))


FORMAT = Format(body=body, matches_url=_recognises, rate_per_second=25)
