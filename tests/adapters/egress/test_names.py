"""Names that resolve to blocked addresses: an own name server on loopback, real packets, real sockets."""

import asyncio
from ipaddress import ip_network

import pytest

from relay.egress import EgressRules, HttpResponse, RequestFailed, SendResult
from relay.egress.http_client import WebhookHttpClient
from relay.egress.ip_policy import not_dialled
from tests.adapters.name_server import Zone, name_server
from tests.loopback import Served, Wire, answer, answering, serving

INSIDE = """
    127.0.0.1 127.0.0.53 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254 192.168.0.1
    192.168.255.254 169.254.0.1 169.254.169.254 169.254.170.2 169.254.170.23 100.64.0.1 100.100.100.200 100.127.255.254
    168.63.129.16 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.254 198.51.100.1 203.0.113.1
    224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    ::1 :: ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 ::127.0.0.1
    ::10.0.0.1 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::10.0.0.1 2002:7f00:1:: 2002:a9fe:a9fe::1
    2002:a00:1::1 2001:0:53aa:64c:0:7fff:80ff:fffe 2001::1 2001:db8::1 2001:10::1 2001:20::1 3fff::1 100::1 fc00::1
    fd00::1 fd00:ec2::254 fd20:ce::254 fe80::1 fe80::ffff:ffff febf::1 fec0::1 ff02::1 ff0e::1 4000::1 e000::1
""".split()
ALIASES: dict[str, Zone] = {
    "an alias": {"evil.test": ["inside.test"], "inside.test": ["127.0.0.1"]},
    "a chain of aliases": {"evil.test": ["a.test"], "a.test": ["b.test"], "b.test": ["c.test"], "c.test": ["10.0.0.1"]},
    "an alias of the cloud's metadata": {"evil.test": ["metadata.test"], "metadata.test": ["169.254.169.254"]},
    "an alias by IPv6": {"evil.test": ["inside.test"], "inside.test": ["::1", "::ffff:127.0.0.1"]},
    "an alias of localhost": {"evil.test": ["localhost"], "localhost": ["127.0.0.1", "::1"]},
    "many addresses, all inside": {"evil.test": INSIDE[:12]},
}


def rules(allow: str = "", deny: str = "") -> EgressRules:
    return EgressRules(True, tuple(map(ip_network, allow.split())), tuple(map(ip_network, deny.split())))


async def posted(zone: Zone, served: Served, rules: EgressRules, times: int = 1) -> list[SendResult]:
    """The results of POSTs to evil.test, one after the other, each on a new connection."""
    async with name_server(zone) as (resolver, _):
        outcomes = []
        for _ in range(times):
            egress = WebhookHttpClient(rules, resolver=resolver)
            outcome, _ = await egress.post(served.url("/s3cr3t", host="evil.test"), {}, b"{}", 5_000)
            outcomes.append(outcome)
            await egress.aclose()
        return outcomes


@pytest.mark.parametrize("address", INSIDE)
async def test_a_name_that_resolves_to_an_inside_address_is_blocked(address: str) -> None:
    """Any inside address in any form."""
    async with serving(answering(answer())) as served:
        [outcome] = await posted({"evil.test": [address]}, served, rules())
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == "blocked"
        assert "s3cr3t" not in outcome.detail
        assert served.connections == 0


@pytest.mark.parametrize("zone", ALIASES.values(), ids=ALIASES)
async def test_an_alias_that_resolves_to_an_inside_address_is_blocked(zone: Zone) -> None:
    """The address is checked, however the name resolved to it."""
    async with serving(answering(answer())) as served:
        [outcome] = await posted(zone, served, rules())
        assert isinstance(outcome, RequestFailed)
        assert (outcome.kind, served.connections) == ("blocked", 0)


async def test_dns_rebinding_over_real_packets_is_blocked() -> None:
    """The first address may be dialled, the second, a moment later, may not."""
    zone = {"evil.test": ["127.0.0.1"], "evil.test#2": ["127.0.0.2"]}
    async with serving(answering(answer())) as served:
        first, second = await posted(zone, served, rules(allow="127.0.0.1/32"), times=2)
        assert isinstance(first, HttpResponse)
        assert second == RequestFailed("blocked", not_dialled("127.0.0.2 is loopback"), may_change=True)
        assert served.connections == 1


@pytest.mark.parametrize("bad", ["127.0.0.2", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.2"])
@pytest.mark.parametrize("first", [True, False])
async def test_an_inside_address_among_others_is_skipped(bad: str, first: bool) -> None:
    """In any order."""
    both = [bad, "127.0.0.1"] if first else ["127.0.0.1", bad]
    async with serving(answering(answer())) as served:
        [outcome] = await posted({"evil.test": both}, served, rules(allow="127.0.0.1/32"))
        assert isinstance(outcome, HttpResponse)
        assert served.connections == 1


@pytest.mark.parametrize("asked", ["evil.test", "EVIL.test", "other.test"])
async def test_allow_networks_applies_to_any_name(asked: str) -> None:
    """It lists addresses: any name that resolves to one may be called, and no name that resolves to another."""
    zone = {"evil.test": ["127.0.0.1"], "other.test": ["127.0.0.3"]}
    async with serving(answering(answer())) as served, name_server(zone) as (resolver, server):
        egress = WebhookHttpClient(rules(allow="127.0.0.1/32"), resolver=resolver)
        outcome, _ = await egress.post(served.url(host=asked), {}, b"{}", 5_000)
        await egress.aclose()
        assert isinstance(outcome, HttpResponse) == (asked != "other.test")
        assert f"{asked.lower()}/1" in server.asked


async def test_hosts_of_one_address_share_its_slots() -> None:
    """Of many names that lead to one silent address, as many wait for it as for one host; a POST without such a limit
    is sent all the same, and the next one when one has ended."""
    zone = {f"name{n}.test": ["127.0.0.1"] for n in range(9)} | {"other.test": ["127.0.0.2", "127.0.0.1"]}
    silent, busy = asyncio.Event(), RequestFailed("busy", "enough requests wait for the same address")

    async def behave(wire: Wire) -> None:
        await wire.read()
        await silent.wait()
        await wire.send(answer())

    async with serving(behave) as served, name_server(zone) as (resolver, _):
        egress = WebhookHttpClient(rules(allow="127.0.0.0/8"), resolver=resolver)

        async def post(name: str, per_address: int | None) -> SendResult:
            return (await egress.post(served.url(host=name), {}, b"{}", 20_000, per_address))[0]

        many = [asyncio.create_task(post(f"name{n}.test", 4)) for n in range(8)]
        done, waiting = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 4:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        assert [task.result() for task in done] == [busy] * 4
        unlimited = asyncio.create_task(post("name8.test", None))
        assert isinstance(await post("other.test", 4), RequestFailed), "its first address refuses, its second is busy"
        silent.set()
        assert all(isinstance(result, HttpResponse) for result in await asyncio.gather(unlimited, *waiting))
        assert isinstance(await post("name8.test", 4), HttpResponse)
        await egress.aclose()
