"""Marked secrets: one of every kind, each to be recognised wherever it comes out."""

import base64
from urllib.parse import quote

from relay.signing import standard_webhooks

EXEC_KEY = "exec_live_" + "MARKEDexeckey" * 2
API_KEY = "relay_" + "MARKEDapikey" * 3 + "MARKEDa"
SIGNING = standard_webhooks.new_secret(b"MARKED signing secret, 32 bytes!")
OTHER_SIGNING = standard_webhooks.new_secret(b"MARKED another secret, 32 bytes!")
URL_TOKEN = "MARKEDurltoken0123456789"
HEADER = "MARKEDheadervalue0123456789"
PASSWORD = "MARKEDpassword0123456789"
SECRET_KEY = "MARKEDsecretkey0123456789abcdefghijklmnopq="

ALL = (EXEC_KEY, API_KEY, SIGNING, OTHER_SIGNING, URL_TOKEN, HEADER, PASSWORD, SECRET_KEY)


def _spellings(secret: str) -> set[str]:
    """As it is, without what comes before it, quoted, in base64."""
    bare = secret.rpartition("_")[2] if secret.startswith(("whsec_", "exec_live_", "relay_")) else secret
    inner = base64.b64encode(bare.encode()).decode()[2:-4]  # whatever stands beside it
    return {bare, quote(bare, safe=""), bare[::-1], inner}


def found_in(text: str) -> list[str]:
    """The names of those secrets that a text holds, in any spelling; never the secrets themselves."""
    names = {value: name for name, value in globals().items() if isinstance(value, str) and value in ALL}
    return sorted(names[secret] for secret in ALL if any(one in text for one in _spellings(secret)))
