"""Limits on what a receiver may send: all bytes off the socket count, whatever they are.

aiohttp limits each header, the number of headers and its own buffers. It limits neither the number of interim responses
(1xx) nor the framing of a chunked body, so this subclass of its protocol class counts both.
"""

import re
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

MAX_BYTES = 64 * 1024
"""Bytes off the socket for one response. The read that exceeds this limit is still used: at most 256 KiB more."""

MAX_INTERIM = 16
"""Interim responses (1xx) before the final one."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class ResponseTooLong(aiohttp.ClientError):
    """The receiver sent more than any response needs."""


class InvalidFraming(aiohttp.ClientError):
    """The head is complete and readable, but its lengths or encodings contradict each other or break HTTP's rules."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers


class LimitedConnector(aiohttp.TCPConnector):
    """aiohttp's connector, with a protocol class that counts bytes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = cast(partial[ResponseHandler], partial(LimitedResponseHandler, loop=self._loop))


class LimitedResponseHandler(ResponseHandler):
    """One connection: aborts a response that exceeds the limits, and reports the head of one that can't be parsed."""

    _bytes_left = MAX_BYTES
    _interim = 0
    _raw: tuple[bytes, ...] = ()
    """The bytes received so far of a response whose head is not complete."""

    def set_response_params(self, **params: Any) -> None:
        """Resets the counts: a new request begins on this connection."""
        self._bytes_left, self._interim, self._raw = MAX_BYTES, 0, ()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if data and self._bytes_left <= 0:  # guard: receiver-bytes
            self.set_exception(ResponseTooLong())
            self.abort()
            return
        self._bytes_left -= len(data)
        self._raw += (data,)
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        if isinstance(exc, HttpProcessingError) and (head := final_head(b"".join(self._raw))):
            exc = InvalidFraming(*head)
        super().set_exception(exc, *cause)

    async def read(self) -> Any:
        """The next message, interim ones included. Raises ResponseTooLong."""
        message = await super().read()
        if not 100 <= message[0].code < 200:
            self._raw = ()
        elif (interim := self._interim + 1) > MAX_INTERIM:
            raise ResponseTooLong
        else:
            self._interim = interim
        return message


def final_head(raw: bytes) -> tuple[int, dict[str, str]] | None:
    """Status and headers (names in lower case) of the first response in `raw` that is not interim.

    None if its head is incomplete or does not begin with a status line.
    """
    position = 0
    while (line := _STATUS_LINE.match(raw, position)) and (end := _END_OF_HEAD.search(raw, line.end() - 2)):
        if not line[1].startswith(b"1"):
            return int(line[1]), _headers(raw[line.end() : end.start()])
        position = end.end()
    return None


def _headers(lines: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines.decode("latin-1").splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}
