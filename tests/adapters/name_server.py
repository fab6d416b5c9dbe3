"""A name server on loopback, and a resolver that asks it: real packets, scripted answers."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import cast

from aiohttp.abc import AbstractResolver, ResolveResult

_A, _CNAME, _AAAA = 1, 5, 28
_HEAD = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")

Zone = Mapping[str, Sequence[str]]
"""By name: addresses, or names that it is an alias of. `name#2` is what it says when asked again."""


class NameServer(asyncio.DatagramProtocol):
    """Answers with the aliases that it follows and the addresses at their end, all with a life of 0 s."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        number, *_ = _HEAD.unpack(data[:12])
        name, end = _name(data, 12)
        kind = int.from_bytes(data[end : end + 2], "big")
        records = self._records(name, kind, again=(name, kind) in self._seen())
        self.asked.append(f"{name}/{kind}")
        answers = b"".join(
            _spelled(owner) + _RECORD.pack(type, 1, 0, len(data)) + data for owner, type, data in records
        )
        self._transport.sendto(_HEAD.pack(number, 0x8580, 1, len(records), 0, 0) + data[12 : end + 4] + answers, addr)

    def _seen(self) -> set[tuple[str, int]]:
        return {(name, int(kind)) for name, kind in (text.split("/") for text in self.asked)}

    def _records(self, name: str, kind: int, again: bool) -> list[tuple[str, int, bytes]]:
        found: list[tuple[str, int, bytes]] = []
        for value in self._zone.get(f"{name}#2" if again else name, self._zone.get(name, ())):
            try:
                address = ip_address(value)
            except ValueError:
                found += [(name, _CNAME, _spelled(value)), *self._records(value, kind, again)]
                continue
            if kind == (_A if address.version == 4 else _AAAA):
                found.append((name, kind, address.packed))
        return found


class Asking(AbstractResolver):
    """Asks the name server at `address`, as a resolver without a cache does."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = [one for kind in (_A, _AAAA) for one in await self._asked(host, kind)]
        if not found:
            raise OSError("Name or service not known")
        return [
            ResolveResult(
                hostname=host,
                host=one,
                port=port,
                family=socket.AF_INET6 if ":" in one else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for one in found
        ]

    async def _asked(self, host: str, kind: int) -> list[str]:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            await loop.sock_connect(line, self._address)
            query = _HEAD.pack(7, 0x0100, 1, 0, 0, 0) + _spelled(host) + struct.pack("!HH", kind, 1)
            await loop.sock_sendall(line, query)
            async with asyncio.timeout(30):
                return _addresses(await loop.sock_recv(line, 65_535))

    async def close(self) -> None:
        """Nothing is kept open."""


@asynccontextmanager
async def name_server(zone: Zone) -> AsyncIterator[tuple[Asking, NameServer]]:
    """A resolver, and the name server behind it."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(zone), ("127.0.0.1", 0))
    yield Asking(transport.get_extra_info("sockname")), server
    transport.close()


def _spelled(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def _name(data: bytes, at: int) -> tuple[str, int]:
    """The name that stands there, and where it ends; the server's answers hold no compressed ones."""
    parts = []
    while length := data[at]:
        parts.append(data[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(parts), at + 1


def _addresses(answer: bytes) -> list[str]:
    _, _, _, count, _, _ = _HEAD.unpack(answer[:12])
    at = _name(answer, 12)[1] + 4
    found = []
    for _ in range(count):
        _, at = _name(answer, at)
        kind, _, _, length = _RECORD.unpack(answer[at : at + 10])
        data = answer[at + 10 : at + 10 + length]
        at += 10 + length
        if kind in (_A, _AAAA):
            found.append(str(ip_address(data)))
    return found
