"""Hooks for schemathesis beside the document: the refusals that are right for a request that fits the document.

Loaded by its command line (SCHEMATHESIS_HOOKS), in a process of its own.
"""

import itertools
import re
from typing import Any

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

BEYOND_A_SCHEMA = frozenset(
    """unknown_endpoint unknown_workspace invalid_cursor invalid_url https_required blocked_address invalid_headers
    invalid_metadata missing_field two_endpoints no_public_url wait_without_after two_cursors two_formats
    headers_not_possible quiet_not_possible invalid_quiet digest_not_possible invalid_digest fallback_not_possible
    unknown_fallback invalid_fallback wrong_format""".split()
)
"""Codes of refusals for reasons that the schemas leave out: what is stored, where a URL leads, how deep something is,
and fields that contradict each other."""

EXECS_OWN = "Exec says: "
"""How refusals begin that are Exec's, of fields that the relay only passes on."""

_FIT_KEY = re.compile(r"[!-~]{1,200}")
_numbers = itertools.count()


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: "schemathesis.Case[Any]", kwargs: dict[str, Any]) -> None:
    """Each request has an Idempotency-Key of its own: a used one rightly answers with what may be gone by now."""
    key = dict(case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and _FIT_KEY.fullmatch(key):
        case.headers["Idempotency-Key"] = f"{key}-{next(_numbers)}"


@schemathesis.check
def taken_unless_beyond_a_schema(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: "schemathesis.Case[Any]"
) -> bool | None:
    """What fits the document is taken, or refused for one of the known reasons."""
    if response.status_code == 400:
        error = response.json()["error"]
        if error["code"] in BEYOND_A_SCHEMA or error["message"].startswith(EXECS_OWN):
            return None
    found: bool | None = positive_data_acceptance(ctx, response, case)
    return found


@schemathesis.check
def in_our_envelope(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: "schemathesis.Case[Any]"
) -> bool | None:
    """Every refusal is Exec's own envelope, every answer bears the headers that all have."""
    if not _is_suspended(response, case):
        not_a_server_error(ctx, response, case)
    assert response.headers["x-content-type-options"] == ["nosniff"], response.headers
    assert response.headers["x-request-id"], response.headers
    assert "server" not in response.headers
    if 400 <= response.status_code < 500 and case.method != "HEAD":
        assert {"type", "code", "message"} <= set(response.json()["error"])
    return None


def _is_suspended(response: schemathesis.Response, case: "schemathesis.Case[Any]") -> bool:
    """Whether the relay is not ready only because one of the calls has suspended sending, as it should."""
    if case.path != "/readyz" or response.status_code != 503:
        return False
    return [check["name"] for check in response.json()["checks"] if not check["ok"]] == ["sending"]
