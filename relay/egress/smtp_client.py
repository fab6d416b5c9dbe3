"""The SMTP client: one mail, only to a mail server whose address the egress rules allow.

The standard library speaks SMTP on a thread. It gets its socket from here: each address is judged as it is dialled, and
TLS is verified with the host's name from the URL. A reply of the server becomes an `HttpResponse` with SMTP's own code,
so that 250 is a success and 451 is retried like an answer of any other receiver.
"""

import asyncio
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from relay.egress.ip_policy import EgressRules, blocked_reason, is_cloud_metadata, not_dialled
from relay.egress.mail_url import MailServer
from relay.egress.result import UNCERTAIN, HttpResponse, RequestFailed, SendResult
from relay.egress.tls import client_tls_context

_THREADS_PER_MAIL = 4
"""A name server that does not answer holds a thread for longer than the attempt lasts."""
_OUR_NAME = "relay.invalid"
"""The name in EHLO: not the container's, which says something about the inside."""
_STEP_TIMEOUT = 8.0
"""Seconds without a byte of the server, before the final dot."""

_NOT_ENCRYPTED = "the mail server offers no STARTTLS: nothing was sent; use tls=tls on its port for that, often 465"
_WRONG_MODE = "the TLS handshake failed: {}; port 465 wants tls=tls, ports 587 and 25 want tls=starttls"


class _Blocked(OSError):
    """An address that the egress rules refuse."""

    def __init__(self, reason: str, may_change: bool) -> None:
        super().__init__(reason)
        self.may_change = may_change


class _Attempt:
    """The time that one mail has left. The event loop ends what its thread does too long; a lock guards both."""

    def __init__(self, timeout: float, clock: Callable[[], float]) -> None:
        self._timeout, self._clock = timeout, clock
        self._lock = threading.Lock()
        self._ends_at = clock() + timeout
        self._is_over = False
        self._connection: socket.socket | None = None
        self.is_uncertain = False
        """Whether the server may have taken the mail."""

    @property
    def left(self) -> float:
        """Seconds, at least 0."""
        return max(0.0, self._ends_at - self._clock())

    def use(self, dialled: socket.socket) -> None:
        """`end` ends whatever waits for this socket, or for TLS over it. Raises TimeoutError after the end."""
        with self._lock:
            self.check()
            self._close()
            self._connection = dialled.dup()
            dialled.settimeout(min(_STEP_TIMEOUT, self.left))

    def begin_dot(self) -> None:
        """From now on the server may take the mail, for which it has as long again. Raises TimeoutError."""
        with self._lock:
            self.check()
            self.is_uncertain = True
            self._ends_at = self._clock() + self._timeout

    def end(self) -> None:
        """Ends the attempt: its thread sends nothing more."""
        with self._lock:
            self._is_over = True
            if self._connection is not None:
                with suppress(OSError):  # the server has closed it
                    self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """To be called when the thread is done with the socket."""
        with self._lock:
            self._is_over = True
            self._close()

    def check(self) -> None:
        """Raises TimeoutError after the end."""
        if self._is_over or not self.left:
            raise TimeoutError

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SmtpClient:
    """Sends mails, each to a server that `rules` allow, `concurrency` at once; `resolve` finds a name's addresses."""

    def __init__(
        self,
        rules: EgressRules,
        *,
        concurrency: int = 64,
        tls: ssl.SSLContext | None = None,
        resolve: Callable[..., list[tuple[int, int, int, str, tuple[str, int]]]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._tls = tls or client_tls_context()
        self._resolve = resolve or socket.getaddrinfo
        self._clock = clock
        self._threads = ThreadPoolExecutor(concurrency * _THREADS_PER_MAIL, "smtp")  # guard: slow-mail-servers

    async def send(self, server: MailServer, message: bytes, timeout: int) -> tuple[SendResult, int]:
        """The result of sending one mail, and its duration in milliseconds. Never raises for what a server does.

        All before the final dot takes `timeout` ms at most, and the reply to it may take as long again, because servers
        check the mail before it. If that reply is lost the result is `uncertain`: the server may have taken the mail.
        """
        started = self._clock()
        attempt = _Attempt(timeout / 1_000, self._clock)
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._send, server, message, attempt)
        try:
            while not future.done() and attempt.left:  # guard: mail-time
                await asyncio.wait([future], timeout=attempt.left)
        finally:
            if not future.done():
                attempt.end()
        if future.done():
            result = future.result()
        else:
            future.cancel()
            result = _unconfirmed() if attempt.is_uncertain else _timed_out(server)
        return result, round((self._clock() - started) * 1_000)

    async def aclose(self) -> None:
        """Lets threads in flight end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _send(self, server: MailServer, message: bytes, attempt: _Attempt) -> SendResult:
        try:
            attempt.check()
            with self._connected(server, attempt) as session:
                return self._transmit(session, server, message, attempt)
        except _Blocked as fault:
            return RequestFailed("blocked", not_dialled(str(fault)), may_change=fault.may_change)
        except ssl.SSLCertVerificationError as fault:
            return RequestFailed("tls", f"the certificate is not valid: {fault.verify_message}")
        except ssl.SSLError as fault:
            return RequestFailed("tls", _WRONG_MODE.format(fault.reason or "no reason given"))
        except smtplib.SMTPResponseException as fault:
            return _reply(fault.smtp_code, fault.smtp_error)
        except smtplib.SMTPNotSupportedError:
            return RequestFailed("tls", _NOT_ENCRYPTED)
        except TimeoutError:
            return _timed_out(server)
        except socket.gaierror:
            return RequestFailed("connection", "the mail server's name has no address")
        except (smtplib.SMTPException, OSError, EOFError) as fault:
            if isinstance(fault.__context__, TimeoutError):  # smtplib calls it a closed connection
                return _timed_out(server)
            return RequestFailed("connection", f"the connection to the mail server failed: {type(fault).__name__}")
        finally:
            attempt.close()

    def _connected(self, server: MailServer, attempt: _Attempt) -> smtplib.SMTP:
        """A session that is encrypted and logged in, as the URL says. AUTH is never sent before encryption."""
        session = _Session(partial(self._dial, attempt), self._tls if server.tls == "tls" else None)
        try:
            code, text = session.connect(server.host, server.port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, text)
            session.ehlo_or_helo_if_needed()
            if server.tls == "starttls":
                session.starttls(context=self._tls)  # guard: mail-starttls
                session.ehlo_or_helo_if_needed()
            if server.user:
                session.login(server.user, server.password)
        except BaseException:
            session.close()
            raise
        return session

    def _dial(self, attempt: _Attempt, host: str, port: int) -> socket.socket:
        refused, may_change, last = [], True, None
        for family, kind, protocol, _, address in self._resolve(host, port, type=socket.SOCK_STREAM):
            if reason := blocked_reason(str(address[0]), self._rules):  # guard: mail-address
                refused.append(reason)
                may_change = may_change and not is_cloud_metadata(str(address[0]))
                continue
            dialled = socket.socket(family, kind, protocol)
            try:
                attempt.use(dialled)
                dialled.connect(address)
            except OSError as fault:
                dialled.close()
                last = fault
                continue
            return dialled
        if last is not None:
            raise last
        raise _Blocked(", ".join(dict.fromkeys(refused)), may_change)

    def _transmit(self, session: smtplib.SMTP, server: MailServer, message: bytes, attempt: _Attempt) -> SendResult:
        refused = self._envelope(session, server)
        if isinstance(refused, HttpResponse):
            return refused
        code, text = session.docmd("DATA")
        if code != 354:
            return _reply(code, text)
        escaped = b"".join(b"." + line if line.startswith(b".") else line for line in message.splitlines(keepends=True))
        try:
            session.send(escaped if escaped.endswith(b"\r\n") else escaped + b"\r\n")
            attempt.begin_dot()
            if session.sock is not None:
                session.sock.settimeout(attempt.left)
            session.send(b".\r\n")
            code, text = session.getreply()
        except (smtplib.SMTPServerDisconnected, TimeoutError, OSError):
            return _unconfirmed()
        if not 200 <= code < 300:
            return _reply(code, text)
        report = f"{len(refused)} of {len(server.recipients)} addresses were refused: {'; '.join(refused)}"
        return HttpResponse(code, {}, text[:1_000], body_error=report if refused else None)

    def _envelope(self, session: smtplib.SMTP, server: MailServer) -> list[str] | HttpResponse:
        """What was said about refused recipients; a reply instead if nothing is to be sent.

        One address that is gone does not keep the mail from the others. One that is refused for now makes the whole
        attempt fail before the mail is sent, so that nobody gets it twice.
        """
        code, text = session.mail(server.sender)
        if code != 250:
            return _reply(code, text)
        refused = []
        for recipient in server.recipients:
            code, text = session.rcpt(recipient)
            if 400 <= code < 500:
                return _reply(code, text)
            if code >= 500:
                refused.append(f"{code} {text.decode(errors='replace')[:100]}")
        return _reply(code, text) if len(refused) == len(server.recipients) else refused


class _Session(smtplib.SMTP):
    """smtplib's session over a socket that `dial` opens; with `tls`, encrypted from the first byte."""

    def __init__(self, dial: Callable[[str, int], socket.socket], tls: ssl.SSLContext | None) -> None:
        self._dial, self._wrap = dial, tls
        super().__init__(local_hostname=_OUR_NAME, timeout=_STEP_TIMEOUT)

    def connect(self, host: str = "", port: int = 0, source_address: object = None) -> tuple[int, bytes]:
        self._host = host  # the name that STARTTLS verifies
        opened = self._dial(host, port)
        self.sock = self._wrap.wrap_socket(opened, server_hostname=host) if self._wrap else opened
        self.file = None
        return self.getreply()


def _timed_out(server: MailServer) -> RequestFailed:
    hint = "; a server on port 465 wants tls=tls" if server.tls != "tls" else ""
    return RequestFailed("timeout", f"the mail server did not answer in time{hint}")


def _unconfirmed() -> RequestFailed:
    return RequestFailed(UNCERTAIN, "the mail server did not confirm; it may have taken the mail")


def _reply(code: int, text: bytes | str) -> HttpResponse:
    body = text if isinstance(text, bytes) else text.encode()
    return HttpResponse(code if code >= 400 else 502, {}, body[:1_000])
