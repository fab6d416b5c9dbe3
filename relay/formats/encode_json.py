"""The bytes of a JSON body: no spaces, and every character as itself."""

import json


def encode_json(body: object) -> bytes:
    """The body as compact JSON in UTF-8. Raises ValueError for half a surrogate pair, and for NaN and infinities."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
