"""`zapier`: Catch Hook and REST Hooks, a flat object (`flat.py` lists its keys).

The entries of the registration's metadata follow as `metadata_KEY`, lists and objects as JSON text. A standing endpoint
has no registration, so it gets none of these keys.

Zapier accepts about 30 requests a second at one hook; its unsubscribe is 410, as for every format.
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


def _matches_url(host: str, path: str) -> bool:
    return host == "hooks.zapier.com" and path.startswith(("/hooks/catch/", "/hooks/standard/"))


FORMAT = Format(body=body, matches_url=_matches_url, rate_per_second=25)
