"""The API page has each call in curl, Python and JavaScript: against a server that records, all three ask the same."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from docs.generating import api, languages
from relay.sandbox.local_server import serve
from relay.web.app import OPERATIONS
from tests.docs.pages import blocks
from tests.docs.test_examples import operation_of
from tests.node import needs

KEY = "relay_" + "k" * 43
PROGRAMS = {
    "sh": ["sh", "-e"],
    "python": [sys.executable, "-"],
    "javascript": ["node", "--input-type=module", "-"],
}
Asked = tuple[str, str, str, bytes]
"""Method, path with query, the key that was sent, and the body."""


class Recorder:
    """Answers each request with an empty object, and keeps it."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        methods = ["GET", "POST", "PATCH", "DELETE"]
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> JSONResponse:
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        body = await request.body()
        normal = json.dumps(json.loads(body), sort_keys=True).encode() if body else b""
        self.asked.append((request.method, target, request.headers.get("authorization", ""), normal))
        return JSONResponse({})


@pytest.fixture
async def recorder() -> AsyncIterator[tuple[Recorder, str]]:
    made = Recorder()
    async with serve(made.app) as url:
        yield made, url


async def run(language: str, url: str, folder: Path) -> None:
    """Runs all of the page's blocks in this language as one program."""
    program = "\n".join(blocks(api.page(), language))
    program = program.replace("https://relay.example.com", url).replace(
        "RELAY_API_KEY=relay_...", f"RELAY_API_KEY={KEY}"
    )
    environ = {"PATH": os.environ["PATH"], "RELAY_URL": url, "RELAY_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        *PROGRAMS[language],
        cwd=folder,
        env=environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(program.encode()), 50)
    assert process.returncode == 0, said.decode()


async def test_all_languages_ask_the_same(recorder: tuple[Recorder, str], tmp_path: Path) -> None:
    """Method, path, query, key and body; one request for each call that has examples, in the page's order."""
    made, url = recorder
    found: dict[str, list[Asked]] = {}
    for language, program in PROGRAMS.items():
        if language != "python":
            needs("curl" if language == "sh" else program[0], f"the API's examples in {language}")
        await run(language, url, tmp_path)
        found[language], made.asked = made.asked, []
    assert found["sh"] == found["python"] == found["javascript"]
    assert {key for _, _, key, _ in found["sh"]} == {f"Bearer {KEY}"}
    assert len(found["sh"]) == sum(languages.has_examples(one.path) for one in OPERATIONS)


def test_every_example_is_a_valid_request() -> None:
    """Each is of a call of the API, and its body is what that call takes; a body that is required is there."""
    for block in blocks(api.page(), "sh")[1:]:
        words = block.split("\n", 1)[0].replace('"', "").replace(" \\", "").replace("$RELAY_URL", "http://x").split()
        sent = block.partition("-d '")[2].rpartition("'")[0]
        one = operation_of(words if "-X" in words or not sent else [*words, "-d"])
        assert one is not None, block
        if sent:
            assert one.body is not None, block
            one.body.model_validate(json.loads(sent))
