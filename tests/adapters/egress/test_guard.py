"""The egress guard, with real sockets, resolvers that lie, and real certificates."""

import asyncio
import datetime
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.egress import EgressRules, HttpResponse, RequestFailed, SendResult
from relay.egress.http_client import WebhookHttpClient
from relay.egress.ip_policy import Network, not_dialled
from relay.egress.resolver import ThreadResolver
from tests.loopback import Served, Wire, answer, answering, serving
from tests.unit.egress.test_url_policy import HOSTILE

BODY = b"{}"
Resolved = list[ResolveResult]


class Zone(AbstractResolver):
    """A name server with scripted addresses for each name, one set after the other."""

    def __init__(self, names: dict[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(answers) for name, answers in names.items()}
        self.asked: list[str] = []
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self._answers:
            raise OSError("Name or service not known")
        answers = self._answers[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        self.closed = True


def _rules(*, allow: str = "", deny: str = "") -> EgressRules:
    def networks(text: str) -> tuple[Network, ...]:
        return tuple(ip_network(one) for one in text.split())

    return EgressRules(allow_http=True, allow_networks=networks(allow), deny_networks=networks(deny))


@asynccontextmanager
async def _egress(
    rules: EgressRules, trusted: ssl.SSLContext | None = None, connect_timeout: int = 5_000, **names: Sequence[str]
) -> AsyncIterator[WebhookHttpClient]:
    """`names`: the addresses of NAME.test."""
    zone = Zone({f"{name}.test": [addresses] for name, addresses in names.items()})
    egress = WebhookHttpClient(rules, connect_timeout=connect_timeout, resolver=zone, ssl_context=trusted)
    yield egress
    await egress.aclose()


async def _post(egress: WebhookHttpClient, url: str) -> SendResult:
    outcome, _ = await egress.post(url, {}, BODY, 5_000)
    return outcome


# --- the address that is dialled -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    """
    127.0.0.1 127.1 0x7f.1 2130706433 0177.0.0.1 0.0.0.0 localhost a.localhost 127.0.0.1.
    [::1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::]
    """.split(),
)
async def test_loopback_addresses_are_not_dialled(host: str) -> None:
    """No spelling of loopback is dialled."""
    async with serving(answering(answer())) as served, _egress(_rules()) as egress:
        outcome = await _post(egress, served.url(host=host))
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == "blocked"
        assert served.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [
        "127.0.0.1",
        "127.0.0.1 127.0.0.2",
        "::1 127.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "0.0.0.0 ::",
        "10.0.0.1 169.254.169.254 fd00:ec2::254",
        "127.0.0.1 " * 100,
    ],
)
async def test_a_name_with_blocked_addresses_only_is_blocked(addresses: str) -> None:
    """The error names the addresses."""
    async with serving(answering(answer())) as served, _egress(_rules(), evil=addresses.split()) as egress:
        outcome = await _post(egress, served.url("/s3cr3t", host="evil.test"))
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == "blocked"
        assert outcome.detail.startswith("the address is not dialled: ")
        assert "security.allow_networks" in outcome.detail  # the setting that would change it
        assert outcome.detail.count("127.0.0.1 is loopback") <= 1
        assert "s3cr3t" not in outcome.detail
        assert served.connections == 0


async def test_dns_rebinding_is_blocked_at_each_dial() -> None:
    """A name that resolved to an allowed address, and then to this machine, is blocked then."""
    zone = Zone({"evil.test": [["127.0.0.1"], ["127.0.0.2"]]})
    first = WebhookHttpClient(_rules(allow="127.0.0.1/32"), resolver=zone)
    second = WebhookHttpClient(_rules(allow="127.0.0.1/32"), resolver=zone)
    async with serving(answering(answer())) as served:
        assert isinstance(await _post(first, served.url(host="evil.test")), HttpResponse)
        outcome = await _post(second, served.url(host="evil.test"))
        assert outcome == RequestFailed("blocked", not_dialled("127.0.0.2 is loopback"), may_change=True)
        assert zone.asked == ["evil.test", "evil.test"]
    await first.aclose()
    await second.aclose()


@pytest.mark.parametrize("addresses", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["::1", "127.0.0.1"]])
async def test_blocked_addresses_among_allowed_ones_are_skipped(addresses: list[str]) -> None:
    """In any order."""
    async with (
        serving(answering(answer())) as served,
        _egress(_rules(allow="127.0.0.0/8", deny="127.0.0.2/32"), some=addresses) as egress,
    ):
        assert isinstance(await _post(egress, served.url(host="some.test")), HttpResponse)
        assert served.connections == 1


async def test_a_dead_allowed_address_is_a_failed_connection() -> None:
    """If an allowed address was dialled and did not answer, the attempt is retried: it is not blocked."""
    async with serving(answering(answer())) as served:
        pass
    async with _egress(_rules(allow="127.0.0.1/32"), some=["127.0.0.2", "127.0.0.1"]) as egress:
        outcome = await _post(egress, served.url(host="some.test"))
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == "connection"
        assert outcome.detail.endswith("; not dialled: 127.0.0.2 is loopback")


async def test_deny_networks_override_allow_networks() -> None:
    """A denied address is blocked even if it is allowed too."""
    async with (
        serving(answering(answer())) as served,
        _egress(_rules(allow="127.0.0.0/8", deny="::/0 0.0.0.0/0")) as it,
    ):
        outcome = await _post(it, served.url())
        assert isinstance(outcome, RequestFailed)
        assert (outcome.kind, served.connections) == ("blocked", 0)


async def test_concurrent_attempts_keep_their_own_results() -> None:
    """Blocked and successful attempts side by side each have their own result."""
    async with (
        serving(answering(answer())) as served,
        _egress(_rules(allow="127.0.0.1/32"), good=["127.0.0.1"], evil=["127.0.0.2"]) as egress,
    ):
        hosts = ["good.test", "evil.test"] * 20
        outcomes = await asyncio.gather(*(_post(egress, served.url(host=host)) for host in hosts))
        assert [isinstance(outcome, HttpResponse) for outcome in outcomes] == [True, False] * 20
        assert {outcome.kind for outcome in outcomes if isinstance(outcome, RequestFailed)} == {"blocked"}


@pytest.mark.parametrize("url", ["http://h.test/", "https://me:s3cr3t@h.test/", "ftp://h.test/", "h.test", "https://"])
async def test_the_url_is_validated_again_before_sending(url: str) -> None:
    """A URL that can't be registered is not requested either: its name is not even resolved."""
    zone = Zone({"h.test": [["127.0.0.1"]]})
    egress = WebhookHttpClient(EgressRules(), resolver=zone)
    outcome = await _post(egress, url)
    assert isinstance(outcome, RequestFailed)
    assert outcome.kind == "blocked"
    assert "s3cr3t" not in outcome.detail
    assert zone.asked == []
    await egress.aclose()
    assert zone.closed


@pytest.mark.parametrize(
    ("addresses", "may_change"),
    [
        ("10.0.0.1", True),
        ("::", True),
        ("0.0.0.9", True),
        ("64:ff9b::10.0.0.1", True),
        ("169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("::ffff:169.254.169.254", False),
        ("10.0.0.1 169.254.169.254", False),
        ("fd00:ec2::254", False),
    ],
)
async def test_a_blocked_name_may_change_except_for_cloud_metadata(addresses: str, may_change: bool) -> None:
    """A filtering name server answers `::` for a while; a metadata address is no accident."""
    async with _egress(_rules(), name=addresses.split()) as egress:
        outcome = await _post(egress, "http://name.test/")
        assert isinstance(outcome, RequestFailed)
        assert (outcome.kind, outcome.may_change) == ("blocked", may_change)


async def test_a_blocked_ip_address_is_final() -> None:
    """An IP address never resolves to another one."""
    async with _egress(_rules()) as egress:
        outcome = await _post(egress, "http://10.0.0.1/")
        assert isinstance(outcome, RequestFailed)
        assert (outcome.kind, outcome.may_change) == ("blocked", False)


# --- through the operator's proxy ------------------------------------------------------------------------------


@asynccontextmanager
async def _proxied(
    proxy: str, rules: EgressRules | None = None, trusted: ssl.SSLContext | None = None, **names: Sequence[str]
) -> AsyncIterator[WebhookHttpClient]:
    zone = Zone({f"{name}.test": [addresses] for name, addresses in names.items()})
    egress = WebhookHttpClient(rules or _rules(), resolver=zone, ssl_context=trusted, proxy=proxy)
    yield egress
    await egress.aclose()


async def test_with_a_proxy_only_the_proxy_is_dialled() -> None:
    """The proxy may be inside the network, and resolves names that the relay can't."""
    async with serving(answering(answer())) as proxy, _proxied(proxy.url()) as egress:
        assert isinstance(await _post(egress, "http://known-to-the-proxy.test/x"), HttpResponse)
        assert proxy.requests[0].target == "http://known-to-the-proxy.test/x"


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "127.0.0.1", "64:ff9b::7f00:1"])
async def test_blocked_addresses_are_not_sent_to_the_proxy(address: str) -> None:
    """Names that the relay resolves, and IP addresses, are checked before the proxy is called."""
    async with serving(answering(answer())) as proxy, _proxied(proxy.url(), name=[address]) as egress:
        for url in ("http://name.test/", f"http://{f'[{address}]' if ':' in address else address}/"):
            outcome = await _post(egress, url)
            assert isinstance(outcome, RequestFailed)
            assert outcome.kind == "blocked"
        assert proxy.connections == 0


@pytest.mark.parametrize(
    ("refusal", "detail"),
    [
        (answer(b"", "407 Proxy Authentication Required"), "the proxy answered 407 and opened no tunnel"),
        (answer(b"", "503 No"), "the proxy answered 503 and opened no tunnel"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "the answer's framing breaks HTTP's rules",
        ),
    ],
)
async def test_a_refused_tunnel_is_no_delivery(refusal: bytes, detail: str) -> None:
    """A proxy's response to CONNECT, even an odd 2xx, is not the receiver's response."""
    async with serving(answering(refusal)) as proxy, _proxied(proxy.url(), far=["8.8.8.8"]) as egress:
        outcome = await _post(egress, "https://far.test/s3cr3t")
        assert isinstance(outcome, RequestFailed)
        assert outcome.detail == detail
        assert proxy.requests[0].method == "CONNECT"
        assert "s3cr3t" not in str(proxy.requests[0])


async def test_a_dead_proxy_is_named_in_the_error() -> None:
    """The receiver is not blamed."""
    async with serving(answering(answer())) as proxy:
        pass
    async with _proxied(proxy.url(), far=["8.8.8.8"]) as egress:
        outcome = await _post(egress, "https://far.test/")
        assert outcome == RequestFailed("connection", "no connection to the proxy: Connection refused")


async def test_tls_through_a_proxy_is_checked_against_the_receivers_name(
    certificate: Path, trusted: ssl.SSLContext
) -> None:
    """The tunnel ends at the receiver: its certificate counts, and the proxy sees neither path nor body."""

    async def tunnel(wire: Wire) -> None:
        await wire.read()
        await wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        await asyncio.gather(_pump(wire.reader, writer), _pump(reader, wire.writer))

    rules = _rules(allow="127.0.0.0/8")
    async with (
        _secure(certificate) as (served, _),
        serving(tunnel) as proxy,
        _proxied(proxy.url(), rules, trusted, a=["127.0.0.1"], b=["127.0.0.1"]) as egress,
    ):
        assert isinstance(await _post(egress, served.url("/s3cr3t", host="a.test", scheme="https")), HttpResponse)
        wrong = await _post(egress, served.url(host="b.test", scheme="https"))
        assert isinstance(wrong, RequestFailed)
        assert wrong.kind == "tls"
        assert "s3cr3t" not in str(proxy.requests)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        target.write(data)
        await target.drain()
    target.close()


async def test_a_name_without_address_is_a_failed_connection() -> None:
    """A name that does not resolve may resolve later."""
    async with _egress(_rules()) as egress:
        outcome = await _post(egress, "http://gone.test/s3cr3t")
        assert outcome == RequestFailed("connection", "the host's name has no address")


async def test_the_resolver_runs_on_its_own_threads() -> None:
    """An unknown name raises OSError."""
    resolver = ThreadResolver(2)
    assert "127.0.0.1" in [found["host"] for found in await resolver.resolve("localhost", 80, socket.AF_INET)]
    with pytest.raises(OSError, match=r"Errno"):
        await resolver.resolve("a..b", 80)
    await resolver.close()


async def test_names_that_resolve_slowly_delay_no_other_name() -> None:
    """Lookups outlast the attempts that began them: three times as many hang as attempts may be in flight."""
    go_on = threading.Event()

    def getaddrinfo(host: bytes, *rest: Any) -> Any:
        if host.startswith(b"slow"):
            go_on.wait(60)
        return socket.getaddrinfo("127.0.0.1", *rest)

    resolver = ThreadResolver(4, getaddrinfo)
    slow = [asyncio.create_task(resolver.resolve(f"slow{n}.test", 80, socket.AF_INET)) for n in range(12)]
    await asyncio.sleep(0)  # they are submitted
    try:
        async with asyncio.timeout(30):
            assert [found["host"] for found in await resolver.resolve("well.test", 80, socket.AF_INET)]
    finally:
        go_on.set()
        await asyncio.gather(*slow)
        await resolver.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """Wherever an allowed receiver points, to the cloud's metadata or next door, nothing else is dialled."""
    async with serving(answering(answer())) as elsewhere, _egress(_rules(allow="127.0.0.0/8")) as egress:
        for location in ("http://169.254.169.254/latest/meta-data/", elsewhere.url("/s3cr3t")):
            led = answering(answer(b"", f"{status} Moved", f"Location: {location}"))
            async with serving(led) as served:
                outcome = await _post(egress, served.url())
                assert isinstance(outcome, HttpResponse)
                assert outcome.status == status
        assert elsewhere.connections == 0


async def test_hostile_urls_are_not_requested() -> None:
    """All URLs that registration refuses are refused at sending too, without resolving or dialling."""

    class Everywhere(Zone):
        async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> Resolved:
            self.asked.append(host)
            return []

    zone = Everywhere({})
    egress = WebhookHttpClient(EgressRules(), resolver=zone)
    for url in HOSTILE:
        outcome = await _post(egress, url)
        assert isinstance(outcome, RequestFailed), url
        assert outcome.kind == "blocked", url
    assert zone.asked == []
    await egress.aclose()


# --- TLS -------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-made certificate and key for `a.test` and 127.0.0.1 only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "a.test.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def trusted(certificate: Path) -> ssl.SSLContext:
    """A client's context that trusts the certificate."""
    return ssl.create_default_context(cafile=str(certificate))


@asynccontextmanager
async def _secure(certificate: Path) -> AsyncIterator[tuple[Served, list[str | None]]]:
    """A TLS server, and the names that clients asked it for."""
    names: list[str | None] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _, name, __: names.append(name)
    async with serving(answering(answer()), context) as served:
        yield served, names


async def test_tls_names_come_from_the_url(certificate: Path, trusted: ssl.SSLContext) -> None:
    """The receiver is asked for the name in the URL, and its certificate must have it."""
    async with (
        _secure(certificate) as (served, names),
        _egress(_rules(allow="127.0.0.0/8"), trusted, a=["127.0.0.1"]) as egress,
    ):
        assert isinstance(await _post(egress, served.url(host="a.test", scheme="https")), HttpResponse)
        assert names == ["a.test"]
        assert served.requests[0].headers["host"] == f"a.test:{served.port}"


async def test_a_connection_is_never_used_for_another_host(certificate: Path, trusted: ssl.SSLContext) -> None:
    """A kept TLS connection for one host does not serve another on the same address and port: names are checked."""
    async with (
        _secure(certificate) as (served, names),
        _egress(_rules(allow="127.0.0.0/8"), trusted, a=["127.0.0.1"], b=["127.0.0.1"]) as egress,
    ):
        assert isinstance(await _post(egress, served.url(host="a.test", scheme="https")), HttpResponse)
        outcome = await _post(egress, served.url("/s3cr3t", host="b.test", scheme="https"))
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == "tls"
        assert "Hostname mismatch" in outcome.detail
        literal = await _post(egress, served.url(scheme="https"))
        assert isinstance(literal, RequestFailed)
        assert literal.kind == "tls"
        assert isinstance(await _post(egress, served.url(host="a.test", scheme="https")), HttpResponse)
        assert (len(served.requests), names[:2]) == (2, ["a.test", "b.test"])


async def test_an_unknown_certificate_is_refused(certificate: Path) -> None:
    """A certificate of no trusted authority ends the attempt before anything is sent."""
    async with _secure(certificate) as (served, _), _egress(_rules(allow="127.0.0.0/8"), a=["127.0.0.1"]) as egress:
        outcome = await _post(egress, served.url(host="a.test", scheme="https"))
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == "tls"
        assert outcome.detail == "the certificate is not valid: self-signed certificate"
        assert served.requests == []


async def test_plain_http_on_a_tls_port_is_a_tls_failure() -> None:
    """The error says that the receiver does not speak TLS."""

    async def plain(wire: Wire) -> None:
        await wire.send(answer())
        await wire.hang()

    async with serving(plain) as served, _egress(_rules(allow="127.0.0.0/8"), a=["127.0.0.1"]) as egress:
        outcome = await _post(egress, served.url(host="a.test", scheme="https"))
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == "tls"


async def test_a_handshake_that_hangs_ends_with_the_connect_timeout() -> None:
    """A receiver that accepts and then stays silent holds the attempt for the connect timeout only."""

    async def mute(wire: Wire) -> None:
        await wire.hang()

    async with (
        serving(mute) as served,
        _egress(_rules(allow="127.0.0.0/8"), connect_timeout=200, a=["127.0.0.1"]) as egress,
    ):
        outcome, duration = await egress.post(served.url(host="a.test", scheme="https"), {}, BODY, 10_000)
        assert outcome == RequestFailed("timeout", "no connection in time")
        assert duration < 3_000
