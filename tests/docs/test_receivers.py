"""The receivers of the documentation in Python and JavaScript; `tests/deploy/receivers.py` has the other languages."""

import asyncio
import base64
import hashlib
import hmac
import re
from pathlib import Path

import pytest

from relay.signing import SignatureScheme, standard_webhooks
from tests.docs.pages import DOCS, ROOT, blocks, sections
from tests.docs.receivers import judge, running
from tests.node import installed, needs

PYTHON = sections(DOCS / "how-to/python.md")
JAVASCRIPT = sections(DOCS / "how-to/javascript.md")
PUBLIC_KEYS = sections(DOCS / "how-to/public-keys.md")
PRIVATE_KEY = standard_webhooks.new_secret(b"a private key of thirty-two byte", SignatureScheme.ED25519)
PUBLIC_KEY = standard_webhooks.public_key_of(PRIVATE_KEY) or ""
COMMON = "The same for every framework"
ALONE = "One file"
VERIFIERS = ("With standardwebhooks", "With relay.verify")


async def test_a_python_file_verifies_and_deduplicates(tmp_path: Path) -> None:
    """With the standard library alone."""
    async with running(tmp_path, [PYTHON[ALONE]]) as receiver:
        await judge(receiver, tmp_path)


async def test_a_javascript_file_verifies_and_deduplicates(tmp_path: Path) -> None:
    """With Node's own modules alone."""
    needs("node", "the receiver in JavaScript")
    async with running(tmp_path, [JAVASCRIPT[ALONE]]) as receiver:
        await judge(receiver, tmp_path)


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("framework", ["Starlette", "FastAPI", "Flask", "Django"])
async def test_python_receivers_verify_and_deduplicate(tmp_path: Path, framework: str, verifier: str) -> None:
    """For each framework and each library."""
    parts = [PYTHON[COMMON], PYTHON[verifier], PYTHON[framework]]
    async with running(tmp_path, parts) as receiver:
        await judge(receiver, tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("framework", ["Node's own server", "Express"])
async def test_javascript_receivers_verify_and_deduplicate(tmp_path: Path, framework: str) -> None:
    """With the public npm package."""
    folder = await asyncio.to_thread(installed, ROOT / "tests/javascript")
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    async with running(tmp_path, [JAVASCRIPT[COMMON], JAVASCRIPT[framework]]) as receiver:
        await judge(receiver, tmp_path)


async def test_a_python_receiver_verifies_with_a_public_key(tmp_path: Path) -> None:
    """The same files, with `whpk_...` in place of the secret."""
    parts = [PYTHON[COMMON], PYTHON["With relay.verify"], PYTHON["Starlette"]]
    async with running(tmp_path, parts, PUBLIC_KEY) as receiver:
        await judge(receiver, tmp_path, PRIVATE_KEY)


async def test_a_javascript_receiver_verifies_with_a_public_key(tmp_path: Path) -> None:
    """With Node's own modules only."""
    needs("node", "the receiver with a public key")
    parts = [JAVASCRIPT[COMMON], PUBLIC_KEYS["In JavaScript"]]
    async with running(tmp_path, parts, PUBLIC_KEY) as receiver:
        await judge(receiver, tmp_path, PRIVATE_KEY)


def test_every_receiver_snippet_is_run() -> None:
    """The tests above cover every framework on the pages."""
    shown = {title for page in (PYTHON, JAVASCRIPT) for title, part in page.items() if part.files}
    tried = {ALONE, COMMON, *VERIFIERS, "Starlette", "FastAPI", "Flask", "Django", "Node's own server", "Express"}
    assert shown == tried


def test_the_example_to_check_oneself_against_is_signed() -> None:
    """Headers, body and secret of the page belong together, as its second rule says."""
    text = (DOCS / "how-to/receive.md").read_text()
    [secret] = re.findall(r"`whsec_(\S{20,})`", text)
    head, body = blocks(text, "text")[0].strip().split("\n\n")
    headers = dict(line.split(": ") for line in head.splitlines())
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    mac = hmac.digest(base64.b64decode(secret), signed, hashlib.sha256)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
