"""The SMTP client: one mail, only to a mail server whose address the egress rules allow.

The standard library speaks SMTP on a thread. It gets its socket from here: each address is judged as it is dialled, and
TLS is verified with the host's name from the URL. A reply of the server becomes an `HttpResponse` with SMTP's own code,
so that 250 is a success and 451 is retried like an answer of any other receiver.
"""

import asyncio
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from relay.egress.mail_url import MailServer
from relay.egress.result import UNCERTAIN, HttpResponse, RequestFailed, SendResult
from relay.egress.tls import client_tls_context
from relay.egress.url_policy import EgressRules, blocked_reason, is_cloud_metadata

_THREADS = 8
_OUR_NAME = "relay.invalid"
"""The name in EHLO: not the container's, which says something about the inside."""
_STEP_TIMEOUT = 8.0
"""Seconds for the connection and each step before the final dot."""

_NOT_ENCRYPTED = "the mail server offers no STARTTLS: nothing was sent; use tls=tls on its port for that, often 465"
_WRONG_MODE = "the TLS handshake failed: {}; port 465 wants tls=tls, ports 587 and 25 want tls=starttls"


class _Blocked(OSError):
    """An address that the egress rules refuse."""

    def __init__(self, reason: str, may_change: bool) -> None:
        super().__init__(reason)
        self.may_change = may_change


class SmtpClient:
    """Sends mails, each to a server that `rules` allow; `resolve` finds the addresses of a name."""

    def __init__(
        self,
        rules: EgressRules,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Callable[..., list[tuple[int, int, int, str, tuple[str, int]]]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._tls = tls or client_tls_context()
        self._resolve = resolve or socket.getaddrinfo
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, "smtp")

    async def send(self, server: MailServer, message: bytes, timeout: int) -> tuple[SendResult, int]:
        """The result of sending one mail, and its duration in milliseconds. Never raises for what a server does.

        Each step takes 8 s at most; the reply to the final dot may take `timeout` ms, because servers check the mail
        before it. If that reply is lost the result is `uncertain`: the server may have taken the mail.
        """
        started = self._clock()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._threads, self._send, server, message, timeout / 1_000)
        return result, round((self._clock() - started) * 1_000)

    async def aclose(self) -> None:
        """Lets threads in flight end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _send(self, server: MailServer, message: bytes, dot_timeout: float) -> SendResult:
        try:
            with self._connected(server) as session:
                return self._transmit(session, server, message, dot_timeout)
        except _Blocked as fault:
            return RequestFailed("blocked", f"the address is not dialled: {fault}", may_change=fault.may_change)
        except ssl.SSLCertVerificationError as fault:
            return RequestFailed("tls", f"the certificate is not valid: {fault.verify_message}")
        except ssl.SSLError as fault:
            return RequestFailed("tls", _WRONG_MODE.format(fault.reason or "no reason given"))
        except smtplib.SMTPResponseException as fault:
            return _reply(fault.smtp_code, fault.smtp_error)
        except smtplib.SMTPNotSupportedError:
            return RequestFailed("tls", _NOT_ENCRYPTED)
        except TimeoutError:
            hint = "; a server on port 465 wants tls=tls" if server.tls != "tls" else ""
            return RequestFailed("timeout", f"the mail server did not answer in time{hint}")
        except socket.gaierror:
            return RequestFailed("connection", "the mail server's name has no address")
        except (smtplib.SMTPException, OSError, EOFError) as fault:
            return RequestFailed("connection", f"the connection to the mail server failed: {type(fault).__name__}")

    def _connected(self, server: MailServer) -> smtplib.SMTP:
        """A session that is encrypted and logged in, as the URL says. AUTH is never sent before encryption."""
        session = _Session(self._dial, self._tls if server.tls == "tls" else None)
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

    def _dial(self, host: str, port: int) -> socket.socket:
        refused, may_change, last = [], True, None
        for family, kind, protocol, _, address in self._resolve(host, port, type=socket.SOCK_STREAM):
            if reason := blocked_reason(str(address[0]), self._rules):  # guard: mail-address
                refused.append(reason)
                may_change = may_change and not is_cloud_metadata(str(address[0]))
                continue
            dialled = socket.socket(family, kind, protocol)
            dialled.settimeout(_STEP_TIMEOUT)
            try:
                dialled.connect(address)
            except OSError as fault:
                dialled.close()
                last = fault
                continue
            return dialled
        if last is not None:
            raise last
        raise _Blocked(", ".join(dict.fromkeys(refused)), may_change)

    def _transmit(self, session: smtplib.SMTP, server: MailServer, message: bytes, dot_timeout: float) -> SendResult:
        refused = self._envelope(session, server)
        if isinstance(refused, HttpResponse):
            return refused
        code, text = session.docmd("DATA")
        if code != 354:
            return _reply(code, text)
        escaped = b"".join(b"." + line if line.startswith(b".") else line for line in message.splitlines(keepends=True))
        try:
            session.send(escaped if escaped.endswith(b"\r\n") else escaped + b"\r\n")
            if session.sock is not None:
                session.sock.settimeout(dot_timeout)
            session.send(b".\r\n")
            code, text = session.getreply()
        except (smtplib.SMTPServerDisconnected, TimeoutError, OSError):
            return RequestFailed(UNCERTAIN, "the mail server did not confirm; it may have taken the mail")
        if not 200 <= code < 300:
            return _reply(code, text)
        some = f"{len(refused)} of {len(server.recipients)} addresses were refused: {'; '.join(refused)}"
        return HttpResponse(code, {}, text[:1_000], body_error=some if refused else None)

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


def _reply(code: int, text: bytes | str) -> HttpResponse:
    body = text if isinstance(text, bytes) else text.encode()
    return HttpResponse(code if code >= 400 else 502, {}, body[:1_000])
