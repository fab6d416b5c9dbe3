"""The SMTP client against a real mail server (aiosmtpd): encryption, login, refused addresses, lost confirmations."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay import formats
from relay.delivery.retry_policy import UNCERTAIN_WAIT, classify_attempt
from relay.egress import EgressRules, mask_url, smtp_client
from relay.egress.mail_url import parse_mail_url, validate_mail_url
from relay.egress.result import UNCERTAIN, HttpResponse, RequestFailed, SendResult
from relay.egress.smtp_client import SmtpClient
from relay.errors import ValidationFailed
from relay.formats import email
from relay.model import DAY, MINUTE, DeliveryStatus, EventType
from tests.loopback import Behaviour, Wire, serving
from tests.unit.formats.format_samples import COMPLETED, CONTEXT, event

smtp: Any = pytest.importorskip("aiosmtpd.smtp")

pytestmark = pytest.mark.filterwarnings("ignore:Session.login_data:DeprecationWarning")

OPEN = EgressRules(allow_http=True, allow_networks=(ip_network("127.0.0.0/8"),))
RENDERED = formats.render("email", event(EventType.COMPLETED, COMPLETED, context=CONTEXT), None)


class Inbox:
    """A mail server's handler: what it took, and how it misbehaves."""

    def __init__(self, refuse: dict[str, str] | None = None, silent: bool = False) -> None:
        self.refuse, self.silent = refuse or {}, silent
        self.mails: list[Any] = []
        self.logins: list[str] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope)
        if self.silent:
            server.transport.abort()
        return "250 queued"

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        self.logins.append(data.login.decode())
        return smtp.AuthResult(success=data.password == b"p/w@d", handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of mail.test, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("mail.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("mail") / "mail.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@asynccontextmanager
async def mail_server(inbox: Inbox, certificate: Path | None = None, **options: Any) -> AsyncIterator[int]:
    """The port of a mail server on loopback; with a certificate it offers STARTTLS."""
    if certificate:
        server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_tls.load_cert_chain(certificate)
        options = {"tls_context": server_tls, "authenticator": inbox.login, "auth_required": True} | options
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: smtp.SMTP(inbox, hostname="mail.test", loop=loop, **options), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def resolved(*addresses: str) -> Any:
    """A resolver that finds these addresses for every name."""
    return lambda host, port, **_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]


async def send(port: int, url: str, rules: EgressRules = OPEN, **options: Any) -> SendResult:
    """Sends the sample mail to the server at this port; `PORT` in the URL is replaced."""
    server = parse_mail_url(validate_mail_url(url.replace("PORT", str(port)), rules).url)
    message = email.compose(RENDERED, "evt_1", "ep_1", 0, server.sender, server.recipients)
    client = SmtpClient(rules, **{"resolve": resolved("127.0.0.1")} | options)
    try:
        result, _ = await client.send(server, message, 5_000)
    finally:
        await client.aclose()
    return result


PLAIN = "smtp://mail.test:PORT/?from=relay@example.com&to=a@example.com,b@example.com&tls=none"
SECURE = "smtp://relay:p%2Fw%40d@mail.test:PORT/?from=relay@example.com&to=a@example.com"


async def test_a_mail_arrives_with_text_html_and_a_thread() -> None:
    """The mail says who, what and where in both parts; every mail of the job refers to one thread."""
    inbox = Inbox()
    async with mail_server(inbox) as port:
        result = await send(port, PLAIN)
    assert isinstance(result, HttpResponse)
    assert (result.status, result.body_error) == (250, None)
    [envelope] = inbox.mails
    assert envelope.rcpt_tos == ["a@example.com", "b@example.com"]
    mail: Any = message_from_bytes(envelope.content, policy=policy.default)
    assert mail["subject"] == "✅ Scenario ready: Discovery Call with IT Director, for jane@acme.com"
    assert mail["message-id"] == "<evt_1.ep_1.0@example.com>"
    assert mail["references"] == mail["in-reply-to"]
    text, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for part in (text, html):
        assert "jane@acme.com" in part
        assert "https://acme-corp.app.exec.com/scenarios/discovery-call-it-director" in part
    assert "&amp;y=2" in html


async def test_the_same_run_makes_the_same_bytes() -> None:
    """A repeat can be folded; another endpoint, or a click on Send again, makes a mail of its own."""

    def mail(endpoint: str, run: int) -> bytes:
        return email.compose(RENDERED, "evt_1", endpoint, run, "relay@example.com", ("a@example.com",))

    assert mail("ep_1", 0) == mail("ep_1", 0)
    assert len({mail("ep_1", 0), mail("ep_2", 0), mail("ep_1", 3)}) == 3


async def test_starttls_comes_before_the_login(certificate: Path) -> None:
    """The login is sent encrypted, to the server whose certificate has the name of the URL."""
    inbox = Inbox()
    async with mail_server(inbox, certificate) as port:
        result = await send(port, SECURE, tls=ssl.create_default_context(cafile=str(certificate)))
        wrong_name = await send(
            port, SECURE.replace("mail.test", "other.test"), tls=ssl.create_default_context(cafile=str(certificate))
        )
        untrusted = await send(port, SECURE)
    assert isinstance(result, HttpResponse)
    assert result.status == 250
    assert inbox.logins == ["relay"]
    for refused in (wrong_name, untrusted):
        assert isinstance(refused, RequestFailed)
        assert refused.kind == "tls"
    assert len(inbox.mails) == 1


async def test_without_starttls_no_password_is_sent() -> None:
    """A server that does not offer encryption, or somebody who strips it, gets neither login nor mail."""
    inbox = Inbox()
    async with mail_server(inbox, authenticator=inbox.login, auth_require_tls=False) as port:
        result = await send(port, SECURE)
    assert result == RequestFailed("tls", result.detail if isinstance(result, RequestFailed) else "")
    assert "offers no STARTTLS" in str(result)
    assert (inbox.logins, inbox.mails) == ([], [])


async def test_without_a_user_there_is_no_login() -> None:
    """Also if the server offers one."""
    inbox = Inbox()
    async with mail_server(inbox, authenticator=inbox.login, auth_require_tls=False) as port:
        result = await send(port, PLAIN)
    assert isinstance(result, HttpResponse)
    assert (result.status, inbox.logins, len(inbox.mails)) == (250, [], 1)


@pytest.mark.parametrize("url", [SECURE, SECURE.replace("smtp:", "smtps:")], ids=["starttls at 465", "tls at 587"])
async def test_the_wrong_kind_of_tls_for_a_port_is_named(certificate: Path, url: str) -> None:
    """A server that waits for a handshake says nothing, and one that greets does no handshake. Both errors say what to
    change, at the latest when the step's time is over, 8 seconds; here the attempt has less."""
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    inbox, loop = Inbox(), asyncio.get_running_loop()
    is_greeting = url.startswith("smtps:")
    server = await loop.create_server(
        lambda: smtp.SMTP(inbox, loop=loop), "127.0.0.1", 0, ssl=None if is_greeting else server_tls
    )
    port = server.sockets[0].getsockname()[1]
    client = SmtpClient(OPEN, resolve=resolved("127.0.0.1"))
    result = await send_for(client, url.replace("PORT", str(port)), 5_000 if is_greeting else 2_000)
    await client.aclose()
    server.close()
    assert isinstance(result, RequestFailed)
    assert result.kind == ("tls" if is_greeting else "timeout"), result
    assert ("ports 587 and 25 want tls=starttls" if is_greeting else "port 465 wants tls=tls") in result.detail
    assert smtp_client._STEP_TIMEOUT < 10
    assert inbox.logins == []


async def test_a_refused_login_names_what_to_check(certificate: Path) -> None:
    """The error says that the password is wrong and disables the endpoint; no text contains the password."""
    inbox = Inbox()
    async with mail_server(inbox, certificate) as port:
        url = SECURE.replace("p%2Fw%40d", "wrong-password")
        result = await send(port, url, tls=ssl.create_default_context(cafile=str(certificate)))
    assert isinstance(result, HttpResponse)
    decision = classify_attempt(result, "email", 1, [0, MINUTE], 0, 0.0)
    assert decision.disable is not None
    assert "check user and password" in decision.disable
    assert "wrong-password" not in str(result) + str(decision) + repr(
        parse_mail_url(url.replace("PORT", "1") + "&tls=tls")
    )


async def test_one_dead_address_keeps_the_mail_from_nobody_else() -> None:
    """An address that is gone is reported; one that is refused for now delays the mail before it is sent to anybody."""
    gone, busy = Inbox({"a@example.com": "550 no such user"}), Inbox({"b@example.com": "451 try later"})
    async with mail_server(gone) as port:
        result = await send(port, PLAIN)
    assert isinstance(result, HttpResponse)
    assert result.succeeded
    assert "1 of 2 addresses were refused: 550 no such user" in (result.body_error or "")
    async with mail_server(busy) as port:
        later = await send(port, PLAIN)
    assert isinstance(later, HttpResponse)
    decision = classify_attempt(later, "email", 1, [0, MINUTE], 0, 0.0)
    assert (decision.status, decision.next_attempt_at) == (DeliveryStatus.PENDING, MINUTE)
    assert (len(gone.mails), busy.mails) == (1, [])


async def test_a_mail_that_was_not_confirmed_is_sent_once_more() -> None:
    """The server took the mail and said nothing: one repeat with the same Message-ID after a long wait, then none."""
    inbox = Inbox(silent=True)
    async with mail_server(inbox) as port:
        result = await send(port, PLAIN)
    assert isinstance(result, RequestFailed)
    assert result.kind == UNCERTAIN
    schedule = [0, MINUTE, MINUTE, MINUTE]
    first = classify_attempt(result, "email", 1, schedule, 0, 0.0)
    assert first.is_last_retry
    assert first.next_attempt_at is not None
    assert first.next_attempt_at >= UNCERTAIN_WAIT
    assert classify_attempt(result, "email", len(schedule), schedule, 0, 0.0).status is DeliveryStatus.FAILED
    assert len(inbox.mails) == 1


REPLIES = (b"220 mail.test", b"250 OK", b"250 OK", b"250 OK", b"250 OK", b"354 go on")
"""To the connection, EHLO, MAIL, RCPT twice, and DATA; then comes the mail, with its final dot."""


def trickling(replies: int) -> Behaviour:
    """A mail server that sends so many good replies, and the next one byte by byte, without end."""

    async def behave(wire: Wire) -> None:
        for number in range(replies):
            if number:
                await wire.reader.readline()
            await wire.send(REPLIES[number] + b"\r\n")
        while True:
            await wire.send(b"2")
            await asyncio.sleep(0.01)

    return behave


async def send_for(client: SmtpClient, url: str, timeout: int) -> SendResult:
    server = parse_mail_url(validate_mail_url(url, OPEN).url)
    message = email.compose(RENDERED, "evt_1", "ep_1", 0, server.sender, server.recipients)
    result, _ = await client.send(server, message, timeout)
    return result


@pytest.mark.parametrize("replies", range(len(REPLIES) + 1))
async def test_a_trickling_mail_server_is_left_at_the_deadline(replies: int) -> None:
    """Wherever it begins to trickle; only one that has the whole mail may have taken it."""
    client = SmtpClient(OPEN, resolve=resolved("127.0.0.1"))
    async with asyncio.timeout(30), serving(trickling(replies)) as served:
        result = await send_for(client, PLAIN.replace("PORT", str(served.port)), 300)
        assert isinstance(result, RequestFailed)
        assert result.kind == (UNCERTAIN if replies == len(REPLIES) else "timeout")
        while served.open:
            await asyncio.sleep(0.01)
    await client.aclose()


async def test_a_name_that_resolves_slowly_ends_at_the_deadline_and_no_mail_is_sent() -> None:
    """The lookup goes on, on its thread; what it finds is not dialled any more."""
    found, looked_up = threading.Event(), threading.Event()

    def resolve(host: str, port: int, **_: Any) -> Any:
        found.wait(30)
        looked_up.set()
        return resolved("127.0.0.1")(host, port)

    inbox = Inbox()
    client = SmtpClient(OPEN, resolve=resolve)
    async with asyncio.timeout(30), mail_server(inbox) as port:
        result = await send_for(client, PLAIN.replace("PORT", str(port)), 300)
        assert isinstance(result, RequestFailed)
        assert result.kind == "timeout"
        found.set()
        await asyncio.to_thread(looked_up.wait)
        await asyncio.to_thread(client._threads.shutdown)
    assert inbox.mails == []


async def test_mail_servers_that_trickle_delay_no_other_mail() -> None:
    """Sixty of them are in the middle of their reply."""
    inbox = Inbox()
    client = SmtpClient(OPEN, resolve=resolved("127.0.0.1"))
    async with asyncio.timeout(30), serving(trickling(1)) as served, mail_server(inbox) as port:
        slow = PLAIN.replace("PORT", str(served.port))
        waiting = [asyncio.create_task(send_for(client, slow, 60_000)) for _ in range(60)]
        while served.open < len(waiting):
            await asyncio.sleep(0.01)
        assert isinstance(await send_for(client, PLAIN.replace("PORT", str(port)), 5_000), HttpResponse)
        for task in waiting:
            task.cancel()
        while served.open:  # a mail that is cancelled leaves its thread
            await asyncio.sleep(0.01)
    await client.aclose()
    assert len(inbox.mails) == 1


@pytest.mark.parametrize(
    "addresses", [["169.254.169.254"], ["127.0.0.1"], ["10.0.0.5", "169.254.169.254"]], ids=lambda found: found[-1]
)
async def test_a_forbidden_address_is_not_dialled(addresses: list[str]) -> None:
    """The egress rules hold for mail servers: judged is the address that is dialled, whatever the name is."""
    inbox = Inbox()
    async with mail_server(inbox) as port:
        result = await send(port, PLAIN, EgressRules(allow_http=True), resolve=resolved(*addresses))
    assert isinstance(result, RequestFailed)
    assert result.kind == "blocked"
    assert "security.allow_networks" in result.detail
    assert inbox.mails == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("smtp://mail.example.com/", "invalid_url"),
        ("smtp://mail.example.com/?from=a@b.example", "invalid_url"),
        ("smtp://mail.example.com/?from=a@b.example&to=c%0d%0aBcc:x@y.example", "invalid_url"),
        ("smtp://mail.example.com/?from=a@b.example&to=c@d.example&tls=maybe", "invalid_url"),
        ("smtp://mail.example.com/?from=a@b.example&to=c@d.example&cc=e@f.example", "invalid_url"),
        ("smtp://mail.example.com/?from=a@b.example&to=c@d.example&tls=none", "tls_required"),
        ("smtp://127.0.0.1/?from=a@b.example&to=c@d.example", "blocked_address"),
        ("smtp://localhost/?from=a@b.example&to=c@d.example", "blocked_address"),
        ("smtp://mail.example.com:99999/?from=a@b.example&to=c@d.example", "invalid_url"),
    ],
)
def test_a_mail_url_that_can_not_work_is_refused(url: str, code: str) -> None:
    """What is missing or forbidden is said when the endpoint is saved."""
    with pytest.raises(ValidationFailed) as refused:
        validate_mail_url(url, EgressRules())
    assert refused.value.code == code


def test_the_port_chooses_the_encryption() -> None:
    """465 is TLS from the first byte, everything else STARTTLS; the password stays as it was written."""
    rules = EgressRules()
    for url, mode, port in (
        ("smtps://u:p@mail.example.com/?from=a@b.example&to=c@d.example", "tls", 465),
        ("smtp://u:p@mail.example.com/?from=a@b.example&to=c@d.example", "starttls", 587),
        ("smtp://u:p@mail.example.com:465/?from=a@b.example&to=c@d.example", "tls", 465),
        ("smtp://u:p@mail.example.com:2525/?from=a+x@b.example&to=c@d.example", "starttls", 2525),
    ):
        server = parse_mail_url(validate_mail_url(url, rules).url)
        assert (server.tls, server.port, server.user, server.password) == (mode, port, "u", "p")
    kept = parse_mail_url(
        validate_mail_url("smtp://u:%C3%A4%40%2F%3A@m.example/?from=a@b.example&to=c@d.example", rules).url
    )
    assert kept.password == "ä@/:"
    assert mask_url("smtp://u:p@mail.example.com:587/?to=a@b.example") == "smtp://mail.example.com:587/…"
    assert UNCERTAIN_WAIT < DAY
