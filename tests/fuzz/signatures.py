"""What `verify` is given by a stranger: three headers and a body."""

from relay import Unverified, verify
from relay.model import Secret
from relay.signing import standard_webhooks
from tests.fuzz.target import Target, text_of

SECRET = standard_webhooks.new_secret(bytes(32))
NOW = 1_709_294_400_000
GOOD = standard_webhooks.headers("evt_1", b"{}", [Secret(SECRET)], NOW)


def parse(data: bytes) -> None:
    id, stamp, signature, body = [*data.split(b"\n", 3), b"", b"", b"", b""][:4]
    given = {
        "webhook-id": text_of(id),
        "Webhook-Timestamp": text_of(stamp),
        "WEBHOOK-SIGNATURE": text_of(signature),
    }
    assert verify(given, body, SECRET, now=NOW) == {}
    assert {name.lower(): value for name, value in given.items()}["webhook-id"] == GOOD["webhook-id"]


TARGET = Target(
    "signatures",
    parse,
    (Unverified,),
    (
        "\n".join([*GOOD.values(), "{}"]).encode(),
        "\n".join([*GOOD.values(), "[]"]).encode(),
        b"evt_1\n1709294400\nv1,AAAA v1a,BBBB\n{}",
        b"evt\n-1\n,\n",
    ),
)
