"""Converts exceptions of the HTTP client to `RequestFailed`: a kind of a bounded set, and a text without secrets."""

import os
import ssl

import aiohttp
from aiohttp.client_exceptions import ClientConnectorDNSError

from relay.egress import descriptors
from relay.egress.ip_policy import not_dialled
from relay.egress.response_limits import InvalidFraming, ResponseTooLong
from relay.egress.result import BUSY, UNSENT, RequestFailed


def request_failed(
    error: BaseException, refused: list[str], dialled: int, *, may_change: bool, is_busy: bool = False
) -> RequestFailed:
    """The failure that `error` means.

    `refused` says why addresses were not dialled, `dialled` how many were. `may_change`: a later resolution of the name
    may return other addresses. `is_busy`: an address was not dialled because enough requests wait for it.
    """
    reasons = ", ".join(dict.fromkeys(refused))
    if is_busy and not dialled:
        return RequestFailed(BUSY, "enough requests wait for the same address")
    if refused and not dialled:
        return RequestFailed("blocked", not_dialled(reasons), may_change=may_change)
    if descriptors.are_used_up(error):
        return RequestFailed(UNSENT, descriptors.NONE_LEFT)
    kind, detail = _kind_and_detail(error)
    return RequestFailed(kind, f"{detail}; not dialled: {reasons}" if refused else detail)


def _kind_and_detail(error: BaseException) -> tuple[str, str]:
    match error:
        case ResponseTooLong():
            return "protocol", "the receiver sent more than an answer needs"
        case InvalidFraming():
            return "protocol", "the answer's framing breaks HTTP's rules"
        case aiohttp.ClientHttpProxyError(status=status):
            return "connection", f"the proxy answered {status} and opened no tunnel"
        case aiohttp.ClientProxyConnectionError(os_error=fault):
            return "connection", f"no connection to the proxy: {_reason(fault)}"
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as fault):
            return "tls", f"the certificate is not valid: {fault.verify_message}"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls", f"the TLS handshake failed: {getattr(error, 'reason', None) or 'no reason given'}"
        case TimeoutError():
            return "timeout", "no connection in time"
        case ClientConnectorDNSError():
            return "connection", "the host's name has no address"
        case aiohttp.ClientConnectorError(os_error=fault):
            return "connection", f"no connection: {_reason(fault)}"
        case aiohttp.ClientPayloadError():
            return "connection", "the connection was closed in the middle of the answer"
        case aiohttp.ClientResponseError():
            return "protocol", "the answer breaks HTTP's rules"
        case aiohttp.ClientConnectionError() | OSError():
            return "connection", "the connection was closed before an answer came"
        case _:
            return "protocol", "the answer can't be read"


def _reason(fault: OSError) -> str:
    return os.strerror(fault.errno) if fault.errno else "no reason given"
