"""Sending: one POST over the wire, to nowhere but where it may go.

The address is judged in the connector's socket factory, which is asked for every single address about to be dialled,
after resolution and for literals too. The URL is never rewritten to an address: connections are pooled, and TLS names
checked, by the URL's own host.
"""

import asyncio
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_exceptions import ClientConnectorDNSError
from yarl import URL

from relay import __version__
from relay.egress import descriptors
from relay.egress.result import UNSENT, HttpResponse, RequestFailed, SendResult
from relay.egress.url_policy import EgressRules, blocked_reason, validate_url
from relay.errors import ValidationFailed

MAX_BODY_READ = 16 * 1024
"""Bytes of an answer's body that are read; the connection is closed on the rest."""

_LONGEST_HEADER = 32 * 1024
_LONGEST_SHOWN = 100
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
_MOST_ADDRESSES = 16
_DNS_CACHE_SECONDS = 10  # seconds that a resolved name is believed
_URL_CACHE_SIZE = 2_000  # judgements of URLs, which cost about as much as half a POST
_KEEPALIVE_SECONDS = (
    4  # seconds: shorter than the 5 after which common servers hang up, so that few POSTs meet a dying line
)


@dataclass(slots=True)
class _DialState:
    """What one attempt dials; the guard is told of it through the context."""

    refused: list[str] = field(default_factory=list)
    opened: int = 0


_DIAL: ContextVar[_DialState] = ContextVar("dial")


class _BlockedAddress(OSError):
    """The guard's answer to the connector."""


class WebhookHttpClient:
    """Sends POSTs, each judged by `rules`, through one pool of at most `concurrency` connections.

    Neither redirects, retries, cookies, proxies, credentials nor settings from the environment (but the CA bundle of
    `SSL_CERT_FILE`). It speaks to aiohttp itself: httpx's objects over aiohttp's sockets cost twice the rest of a POST.
    A POST that meets a kept connection which the receiver has just closed is not sent again: it fails as
    `connection`, and the delivery's schedule tries again.
    `clock` gives monotonic seconds. `connect_timeout` is milliseconds, for the TCP and TLS handshakes together.
    """

    def __init__(
        self,
        rules: EgressRules,
        *,
        connect_timeout: int = 5_000,
        concurrency: int = 64,
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._validated = lru_cache(_URL_CACHE_SIZE)(partial(_validated, rules))
        self._connect_timeout = connect_timeout / 1_000
        self._concurrency = concurrency
        self._resolver = resolver or ThreadResolver(concurrency)
        self._ssl_context = ssl_context or httpx.create_ssl_context()
        self._clock = clock  # guard: certificate-name
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: int) -> tuple[SendResult, int]:
        """What came of one POST, and how many milliseconds it took: `timeout` milliseconds of wall clock at most.

        Never raises for what a URL, a name server or a receiver does.
        """
        started = self._clock()
        outcome = await self._attempt(url, headers, body, timeout)
        return outcome, round((self._clock() - started) * 1_000)

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def _attempt(self, url: str, headers: Mapping[str, str], body: bytes, within: int) -> SendResult:
        try:
            target = self._validated(url)  # guard: url-at-sending
        except ValidationFailed as fault:
            return RequestFailed("blocked", fault.message)
        for name, value in headers.items():
            if not _fits(name, value):  # guard: header-injection
                return RequestFailed("blocked", f"the header {name[:_LONGEST_SHOWN]!r} or its value can't go along")
        dial = _DialState()
        reset = _DIAL.set(dial)
        try:
            async with asyncio.timeout(within / 1_000):  # guard: attempt-time
                return await self._exchange(target, headers, body)
        except aiohttp.ServerTimeoutError as error:
            return _no_answer(error, dial)
        except TimeoutError:
            return RequestFailed("timeout", f"no complete answer within {within / 1_000:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _no_answer(error, dial)
        finally:
            _DIAL.reset(reset)

    async def _exchange(self, url: URL, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        if self._session is None:
            self._session = self._open_session()
        sent = {name.lower(): value for name, value in headers.items()} | {"accept-encoding": "identity"}
        # guard: receiver-redirect
        async with self._session.post(url, headers=sent, data=body, allow_redirects=False) as response:
            return HttpResponse(response.status, _headers(response), await _read_limited(response))

    def _open_session(self) -> aiohttp.ClientSession:
        """Made on the first POST: aiohttp wants the running loop."""
        connector = aiohttp.TCPConnector(
            limit=self._concurrency,
            ssl=self._ssl_context,
            resolver=self._resolver,
            ttl_dns_cache=_DNS_CACHE_SECONDS,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            socket_factory=self._open_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers={"accept": "*/*", "user-agent": f"exec-relay/{__version__}"},
            timeout=aiohttp.ClientTimeout(sock_connect=self._connect_timeout),
            auto_decompress=False,  # guard: no-decompression
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=MAX_BODY_READ,
            max_field_size=_LONGEST_HEADER,  # guard: receiver-header-size
            trust_env=False,
        )

    def _open_socket(self, dialled: tuple[Any, ...]) -> socket.socket:
        """The socket for an address about to be dialled; called once for each."""
        family, kind, protocol, _, address = dialled
        known = family in (socket.AF_INET, socket.AF_INET6)
        dial = _DIAL.get()
        if (
            reason := blocked_reason(address[0], self._rules) if known else "not an internet address"
        ):  # guard: dialled-address
            dial.refused.append(reason)
            raise _BlockedAddress(reason)  # guard: each-dial
        dial.opened += 1
        return socket.socket(family, kind, protocol)


class ThreadResolver(AbstractResolver):
    """The system's resolver on threads of its own.

    The event loop's few shared threads would let some names that nobody answers for delay all others.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The first 16 addresses of `host`. Raises OSError when there is none, or no file descriptor to ask with: the
        system's resolver says only that it found nothing."""
        look_up = partial(socket.getaddrinfo, host.encode(), port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except OSError:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))  # raises if no descriptor is left
            raise
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=_AS_NUMBERS
            )
            for kind, _, protocol, _, address in found[:_MOST_ADDRESSES]
        ]

    async def close(self) -> None:
        """Lookups under way end by themselves; nobody waits for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)


_AS_NUMBERS = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def _fits(name: str, value: str) -> bool:
    """Whether a header can't break out of its line, nor frame or route the request; registering refuses far more."""
    return bool(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)) and name.lower() not in _FRAMING


def _validated(rules: EgressRules, url: str) -> URL:
    """The URL as it is requested: path and query byte for byte as registered, or signed URLs break. Raises Invalid."""
    return URL(validate_url(url, rules, "url").url, encoded=True)


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """By names in lower case; several of one name are joined."""
    headers: dict[str, str] = {}
    for name, value in response.raw_headers:
        key, text = _text(name).lower(), _text(value)
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _text(raw: bytes) -> str:
    """UTF-8 where it is that, else Latin-1, as which every byte means something."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


async def _read_limited(response: aiohttp.ClientResponse) -> bytes:
    """The first 16 KiB of the body as they came: nothing is decompressed."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(MAX_BODY_READ):
        body += chunk
        if len(body) >= MAX_BODY_READ:  # guard: receiver-answer-size
            break
    return bytes(body[:MAX_BODY_READ])


# --- what went wrong -------------------------------------------------------------------------------------------


def _no_answer(error: BaseException, dial: _DialState) -> RequestFailed:
    if dial.refused and not dial.opened:
        return RequestFailed("blocked", f"the address is not dialled: {_reasons(dial)}")
    if descriptors.are_used_up(error):
        return RequestFailed(UNSENT, descriptors.NONE_LEFT)
    kind, detail = _kind_and_detail(error)
    return RequestFailed(kind, f"{detail}; not dialled: {_reasons(dial)}" if dial.refused else detail)


def _reasons(dial: _DialState) -> str:
    return ", ".join(dict.fromkeys(dial.refused))


def _kind_and_detail(error: BaseException) -> tuple[str, str]:
    """From a bounded set, and words that hold neither path nor query (aiohttp's own often do)."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as fault):
            return "tls", f"the certificate is not valid: {fault.verify_message}"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls", f"the TLS handshake failed: {getattr(error, 'reason', None) or 'no reason given'}"
        case TimeoutError():
            return "timeout", "no connection in time"
        case ClientConnectorDNSError():
            return "connection", "the host's name has no address"
        case aiohttp.ClientConnectorError(os_error=fault):
            return "connection", f"no connection: {os.strerror(fault.errno) if fault.errno else 'no reason given'}"
        case aiohttp.ClientPayloadError():
            return "connection", "the connection was closed in the middle of the answer"
        case aiohttp.ClientResponseError():
            return "protocol", "the answer breaks HTTP's rules"
        case aiohttp.ClientConnectionError() | OSError():
            return "connection", "the connection was closed before an answer came"
        case _:
            return "protocol", "the answer can't be read"
