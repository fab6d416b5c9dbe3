"""The HTTP client for webhooks: one POST, only to addresses that the egress rules allow.

The connector calls its socket factory for each address that it is about to dial, after name resolution and for IP
addresses in URLs too; the factory checks the address. The URL is never rewritten to an address: connections are pooled,
and TLS names checked, by the URL's own host.
"""

import asyncio
import re
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from relay import __version__
from relay.egress.failure import request_failed
from relay.egress.ip_policy import EgressRules, blocked_reason, is_cloud_metadata
from relay.egress.resolver import ThreadResolver
from relay.egress.response_limits import InvalidFraming, LimitedConnector
from relay.egress.result import HttpResponse, RequestFailed, SendResult
from relay.egress.tls import client_tls_context
from relay.egress.url_policy import validate_url
from relay.errors import ValidationFailed
from relay.security import client_network

MAX_BODY_READ = 16 * 1024
"""Bytes of a response's body that are read; the connection is closed on the rest."""

_MAX_HEADER = 32 * 1024
_MAX_SHOWN = 100
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
_DNS_CACHE_SECONDS = 10
_URL_CACHE_SIZE = 2_000
"""Validated URLs in memory: validating one costs about as much as half a POST."""
_KEEPALIVE_SECONDS = 4
"""Less than the 5 seconds after which common servers close a connection, so that few POSTs meet a closing one."""


@dataclass(slots=True)
class _Attempt:
    """The progress of one attempt; a context variable passes it to the socket factory."""

    refused: list[str] = field(default_factory=list)
    """Why addresses were not dialled."""
    refused_for_good: bool = False
    per_address: int | None = None
    """How many attempts with such a limit may wait for one IP address; None: no limit."""
    is_busy: bool = False
    """Whether an address was not dialled because of that limit."""
    waits_for: set[str] = field(default_factory=set)
    """The addresses for which this attempt counts."""
    dialled: int = 0
    status: int | None = None
    """Set as soon as the response's head is complete."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    def fail(self, failure: RequestFailed) -> SendResult:
        """The failure, unless the receiver had already accepted the request: a 2xx counts whatever its body is."""
        if self.status is None or not 200 <= self.status < 300:
            return failure
        return HttpResponse(self.status, self.headers, bytes(self.body), body_error=failure.detail)


_ATTEMPT: ContextVar[_Attempt] = ContextVar("attempt")


class _BlockedAddress(OSError):
    """Raised by the socket factory to the connector."""


class _BusyAddress(OSError):
    """Like `_BlockedAddress`, for an address for which enough attempts wait."""


class WebhookHttpClient:
    """Sends POSTs that `rules` allow, through one pool of at most `concurrency` connections.

    It uses no redirects, retries, cookies or credentials, and of the environment only SSL_CERT_FILE and SSL_CERT_DIR.
    It uses aiohttp directly: httpx's objects over aiohttp's sockets cost twice the rest of a POST.
    A POST on a kept connection that the receiver has just closed is not repeated here: it fails as `connection`, and
    the delivery's schedule tries again.

    `proxy` is an HTTP proxy's URL. Then the relay dials only the proxy, whatever its address, and the proxy resolves
    names; the relay checks IP addresses in URLs, and the addresses to which it resolves a name itself. `clock` returns
    monotonic seconds. `connect_timeout` is in milliseconds, for the TCP and TLS handshakes together.
    """

    def __init__(
        self,
        rules: EgressRules,
        *,
        connect_timeout: int = 5_000,
        concurrency: int = 64,
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._validated = lru_cache(_URL_CACHE_SIZE)(partial(_validated, rules))
        self._connect_timeout = connect_timeout / 1_000
        self._concurrency = concurrency
        self._resolver = resolver or ThreadResolver(concurrency)
        self._ssl_context = ssl_context or client_tls_context()
        self._proxy = proxy
        self._clock = clock  # guard: certificate-name
        self._waiting: Counter[str] = Counter()
        """By address, the attempts in flight that have a limit for one address."""
        self._session: aiohttp.ClientSession | None = None

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> Coroutine[Any, Any, tuple[SendResult, int]]:
        """The result of one POST, and its duration in milliseconds: `timeout` ms of wall clock at most.

        With `per_address`, it is not sent while so many others with such a limit wait for the same address (the same
        /64 of IPv6), whatever their hosts: it fails as `busy`. Never raises for anything that a URL, a name server or
        a receiver does.
        """
        return self.request("POST", url, headers, body, timeout, per_address)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: int,
        per_address: int | None = None,
    ) -> tuple[SendResult, int]:
        """As `post`, with another method."""
        started = self._clock()
        outcome = await self._attempt(method, url, headers, body, timeout, per_address)
        return outcome, round((self._clock() - started) * 1_000)

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def _attempt(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None
    ) -> SendResult:
        try:
            target = self._validated(url)  # guard: url-at-sending
        except ValidationFailed as fault:
            return RequestFailed("blocked", fault.message)
        lower = {}
        for name, value in headers.items():
            lower_name = _safe_name(name)
            if not lower_name or not _HEADER_VALUE.fullmatch(value):  # guard: header-injection
                return RequestFailed("blocked", f"the header {name[:_MAX_SHOWN]!r} or its value can't be sent")
            lower[lower_name] = value
        attempt = _Attempt(per_address=per_address)
        reset = _ATTEMPT.set(attempt)
        try:
            async with asyncio.timeout(timeout / 1_000):  # guard: attempt-time
                return await self._exchange(method, target, lower, body, attempt)
        except aiohttp.ServerTimeoutError as error:
            return attempt.fail(self._failure(error, attempt))
        except TimeoutError:
            return attempt.fail(RequestFailed("timeout", f"no complete answer within {timeout / 1_000:g} s"))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # While a tunnel is being opened, a response is the proxy's and not the receiver's.
            if isinstance(error, InvalidFraming) and not (self._proxy and target.scheme == "https"):
                attempt.status, attempt.headers = error.status, error.headers
            return attempt.fail(self._failure(error, attempt))
        finally:
            _ATTEMPT.reset(reset)
            for address in attempt.waits_for:
                self._waiting[address] -= 1
                if self._waiting[address] <= 0:
                    del self._waiting[address]

    def _failure(self, error: BaseException, attempt: _Attempt) -> RequestFailed:
        return request_failed(
            error,
            attempt.refused,
            attempt.dialled,
            may_change=not attempt.refused_for_good,
            is_busy=attempt.is_busy,
        )

    async def _exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes, attempt: _Attempt
    ) -> HttpResponse:
        if self._session is None:
            self._session = self._open_session()
        if self._proxy is not None:
            await self._check_before_proxy(url)
        async with self._session.request(
            method,
            url,
            headers={**headers, "accept-encoding": "identity"},
            data=body,
            proxy=self._proxy,
            allow_redirects=False,  # guard: receiver-redirect
        ) as response:
            attempt.status, attempt.headers = response.status, _headers(response)
            await _read_body(response, attempt.body)
        return HttpResponse(attempt.status, attempt.headers, bytes(attempt.body))

    def _open_session(self) -> aiohttp.ClientSession:
        """A session; opened on the first POST, because aiohttp needs the running loop."""
        connector = LimitedConnector(
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
            max_field_size=_MAX_HEADER,
            trust_env=False,
        )

    def _open_socket(self, dialled: tuple[Any, ...]) -> socket.socket:
        """The socket for an address that is about to be dialled; called once for each. Raises _BlockedAddress."""
        family, kind, protocol, _, address = dialled
        attempt = _ATTEMPT.get()
        if self._proxy is None:
            is_ip = family in (socket.AF_INET, socket.AF_INET6)
            self._check_address(address[0] if is_ip else "", attempt)  # guard: each-dial
            self._acquire_address(client_network(str(address[0])), attempt)
        attempt.dialled += 1
        return socket.socket(family, kind, protocol)

    def _acquire_address(self, address: str, attempt: _Attempt) -> None:
        """Counts the attempt for an address that it is about to dial. Raises _BusyAddress."""
        if attempt.per_address is None or address in attempt.waits_for:
            return
        if self._waiting[address] >= attempt.per_address:  # guard: attempts-at-one-address
            attempt.is_busy = True
            raise _BusyAddress("enough requests wait for the same address")
        attempt.waits_for.add(address)
        self._waiting[address] += 1

    async def _check_before_proxy(self, url: URL) -> None:
        """Checks the addresses to which the relay itself resolves a name; the proxy may resolve it differently.

        Raises _BlockedAddress.
        """
        host = url.host or ""
        try:
            addresses = await self._resolver.resolve(host, url.port or 0)
        except OSError:
            return
        for address in addresses:
            self._check_address(address["host"], _ATTEMPT.get())  # guard: proxied-name

    def _check_address(self, address: str, attempt: _Attempt) -> None:
        if reason := blocked_reason(address, self._rules):  # guard: dialled-address
            attempt.refused.append(reason)
            attempt.refused_for_good |= is_cloud_metadata(address)
            raise _BlockedAddress(reason)


@lru_cache(_URL_CACHE_SIZE)
def _safe_name(name: str) -> str:
    """The name of a header in lower case; '' if it does not stay on its line, or if it frames or routes the request.
    Registration is far stricter."""
    lower = name.lower()
    return lower if _HEADER_NAME.fullmatch(name) and lower not in _FRAMING_HEADERS else ""


def _validated(rules: EgressRules, url: str) -> URL:
    """The URL as it is requested: path and query byte for byte as registered, because signed URLs break otherwise.

    Raises ValidationFailed.
    """
    return URL(validate_url(url, rules, "url").url, encoded=True)


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The headers, names in lower case; values of the same name are joined."""
    headers: dict[str, str] = {}
    for name, value in response.raw_headers:
        key, text = _text(name).lower(), _text(value)
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _text(raw: bytes) -> str:
    """The text, as UTF-8 if it is valid, else as Latin-1, which decodes every byte."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


async def _read_body(response: aiohttp.ClientResponse, body: bytearray) -> None:
    """Appends the first 16 KiB of the body as received: nothing is decompressed."""
    async for chunk in response.content.iter_chunked(MAX_BODY_READ):
        body += chunk
        if len(body) >= MAX_BODY_READ:  # guard: receiver-answer-size
            del body[MAX_BODY_READ:]
            return
