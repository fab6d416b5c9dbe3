"""The commands' own inputs: address and key of the relay, the callback URL, and servers that are no relay."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from relay.cli import main
from relay.sandbox.fault_injection import envelope
from relay.sandbox.local_server import serve

KEY = "relay_key_0123456789abcdefghij"
HEADERS = {"x-request-id": "r1"}


def run(*words: str, input: str | None = None, **environ: str) -> Result:
    return CliRunner(env={"RELAY_URL": "http://127.0.0.1:9", **environ}).invoke(main, words, input=input)


class Answers:
    """A server that answers every request with one response, and keeps the requests."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.keys: list[str | None] = []
        self.bodies: list[Any] = []

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        async def answer(request: Request) -> Response:
            self.keys.append(request.headers.get("authorization"))
            body = await request.body()
            self.bodies.append(json.loads(body) if body else None)
            return self.response

        methods = ["GET", "POST"]
        async with serve(Starlette(routes=[Route("/{path:path}", answer, methods=methods)]), "127.0.0.1", 0) as url:
            yield url


async def ask(answers: Answers, *words: str, **environ: str) -> Result:
    async with answers.served() as url:
        return await asyncio.to_thread(run, *words, **{"RELAY_URL": url, **environ})


# --- the key and the address -----------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [KEY, KEY + "\r", KEY + "\n", f"  {KEY} \r\n"])
async def test_a_key_is_trimmed(written: str, tmp_path: Path) -> None:
    """From a variable of a CRLF file, from an option, and from a file."""
    answers = Answers(JSONResponse({"data": []}, headers=HEADERS))
    (tmp_path / "key").write_text(written)
    for words, environ in (
        (["jobs"], {"RELAY_API_KEY": written}),
        (["jobs", "--key", written], {}),
        (["jobs"], {"RELAY_API_KEY_FILE": str(tmp_path / "key")}),
        (["jobs", "--key-file", str(tmp_path / "key")], {}),
    ):
        done = await ask(answers, *words, **environ)
        assert done.exit_code == 0, done.output
    assert answers.keys == [f"Bearer {KEY}"] * 4


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (f"\u201c{KEY}\u201d", "is in quotes"),
        (f'"{KEY}"', "is in quotes"),
        (KEY + "\u00fc", "not ASCII"),
        (f"{KEY} {KEY}", "holds a space"),
        (f"{KEY}\x00{KEY}", "can't be seen"),
        (f"{KEY}\n{KEY}", "line breaks"),
        ("${RELAY_KEY}", "the name of a variable"),
    ],
)
def test_a_key_that_no_header_can_hold_is_named(key: str, reason: str, tmp_path: Path) -> None:
    """By the variable, the option or the file's variable, without the key and without a traceback."""
    (tmp_path / "key").write_text(key)
    cases: list[tuple[list[str], dict[str, str], str]] = [
        (["jobs", "--key", key], {}, "--key"),
        (["jobs"], {"RELAY_API_KEY_FILE": str(tmp_path / "key")}, "RELAY_API_KEY_FILE"),
        (["jobs", "--key-file", str(tmp_path / "key")], {}, "--key-file"),
    ]
    if "\x00" not in key:
        cases.append((["jobs"], {"RELAY_API_KEY": key}, "RELAY_API_KEY"))
    for words, environ, name in cases:
        done = run(*words, **environ)
        assert done.exit_code == 2
        assert f"Error: {name}" in done.output
        assert reason in done.output
        assert KEY not in done.output


def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """With the reason."""
    done = run("jobs", RELAY_API_KEY_FILE=str(tmp_path / "none"))
    assert "RELAY_API_KEY_FILE: its file can't be read: No such file or directory" in done.output


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("localhost:8080", "must begin with http:// or https://"),
        ("relay.example.com", "must begin with http:// or https://"),
        ("ftp://relay.example.com", "must begin with http:// or https://"),
        ("http://", "must begin with http:// or https://"),
        ("http://127.0.0.1:port", "ort could not be cast"),
        ("http://127.0.0.1:99999", "out of range"),
        ("http://[::1", "nvalid IPv6"),
        ("http://user:hunter2@127.0.0.1", "must hold no user name"),
        ("'http://127.0.0.1:9'", "is in quotes"),
        ("http://127.0.0.1:9/\u00fc", "in ASCII"),
        ("", "must not be empty"),
    ],
)
def test_an_address_that_is_no_url_is_named(url: str, reason: str) -> None:
    """Nothing is called; a password in it is not repeated."""
    done = run("jobs", "--server", url)
    assert done.exit_code == 2
    assert "Error: --server " in done.output
    assert reason in done.output
    assert "hunter2" not in done.output
    if url:
        assert "Error: RELAY_URL " in run("jobs", RELAY_URL=url).output


def test_nobody_listens() -> None:
    """The address is named, and what to do."""
    done = run("jobs", RELAY_URL="http://127.0.0.1:9 \r")
    assert (done.exit_code, "no relay answers at http://127.0.0.1:9 (ConnectError); start one" in done.output) == (
        1,
        True,
    )


# --- servers that are no relay ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (HTMLResponse("<h1>It works</h1>"), "it answered 200 with text/html"),
        (HTMLResponse("<h1>no</h1>", 404), "it answered 404 with text/html"),
        (JSONResponse({"data": []}), "it answered 200 with application/json"),
        (JSONResponse([1], headers=HEADERS), "it answered 200 with application/json"),
        (JSONResponse({"error": "no"}, 403), "it answered 403 with application/json"),
        (JSONResponse(envelope("not_found", None, "Nothing here"), 404), "it answered 404 with application/json"),
        (Response(status_code=502), "it answered 502 with no content type"),
        (
            RedirectResponse("https://relay.example.com/v1/jobs?key=hunter2"),
            "307, a redirect to https://relay.example.com;",
        ),
        (RedirectResponse("/login?next=hunter2", 302), "302, a redirect;"),
        (JSONResponse({"hello": "world"}, headers=HEADERS), "200 with application/json;"),
    ],
)
async def test_a_server_that_is_no_relay_is_named(response: Response, reason: str) -> None:
    """For every command that calls one; exit code 1."""
    for words in (
        ["jobs"],
        ["deliveries"],
        ["register", "j1"],
        ["jobs", "j1"],
        ["events"],
        ["callback", "show"],
        ["resend", "--failed", "--dry-run"],
        ["resend", "dlv_1"],
        ["endpoints", "list"],
        ["endpoints", "test", "ep_1", "--json"],
    ):
        done = await ask(Answers(response), *words)
        assert done.exit_code == 1
        assert "is not a relay: " in done.output
        assert reason in done.output
        assert "hunter2" not in done.output
        assert "Traceback" not in done.output


@pytest.mark.parametrize("words", [["wait", "j1"], ["events", "--follow"]])
async def test_a_login_page_is_no_reason_to_wait(words: list[str]) -> None:
    """What waits for a job or for events says at once that a page answered, and how to pass it."""
    for page in (RedirectResponse("https://auth.example.com/?rd=hunter2", 302), HTMLResponse("<h1>Sign in</h1>")):
        done = await ask(Answers(page), *words)
        assert done.exit_code == 1
        [line] = done.output.splitlines()
        assert "is not a relay: " in line
        assert line.endswith("or let requests for /v1 pass the login page in front of it")
        assert "hunter2" not in line


@pytest.mark.parametrize("words", [["wait", "j1"], ["events", "--follow"]])
async def test_another_api_is_no_reason_to_wait(words: list[str]) -> None:
    """Exec's own address, or another service's on the port: its JSON error is not shown as if it was the relay's."""
    error = {"error": {"code": "not_found", "message": "Nothing here"}}
    done = await ask(Answers(JSONResponse(error, 404)), *words)
    assert done.exit_code == 1
    assert "is not a relay: it answered 404 with application/json" in done.output
    assert "Nothing here" not in done.output


@pytest.mark.parametrize("rows", [5, [5], [{"id": "x"}]])
async def test_json_of_something_else_is_no_traceback(rows: object) -> None:
    """A list with other rows, from a server whose answers have request ids too."""
    for words in (["jobs"], ["endpoints", "list"], ["endpoints", "test", "sales"]):
        done = await ask(Answers(JSONResponse({"data": rows}, headers=HEADERS)), *words)
        assert done.exit_code == 1
        [line] = done.output.splitlines()
        assert "JSON that this command can't read" in line or "is not a relay" in line


async def test_an_error_of_a_server_does_not_control_the_terminal() -> None:
    """Its text is printed without control characters."""
    error = {"error": {"message": "no\x1b[31m\x9b1m\u202e\x7f"}}
    done = await ask(Answers(JSONResponse(error, 403, headers=HEADERS)), "jobs")
    assert done.stderr == "relay: no·[31m·1m··\n"


async def test_json_is_ascii() -> None:
    """Names hold what they like: nothing raw is printed, and a program reads the same value."""
    page: dict[str, object] = {"data": [], "next_cursor": None, "name": "caf\u00e9 \x1b \x7f \x9b \u202e \U0001f3ad"}
    done = await ask(Answers(JSONResponse(page, headers=HEADERS)), "jobs", "--json")
    assert done.stdout.isascii()
    assert done.stdout.replace("\n", "").isprintable()
    assert json.loads(done.stdout) == page


# --- relay register --------------------------------------------------------------------------------------------


MADE = {"id": "reg_1", "job_id": "j1", "endpoint": None}


@pytest.mark.parametrize(
    ("words", "environ", "url"),
    [
        (["--url", "https://a.example/x "], {}, "https://a.example/x"),
        ([], {"RELAY_CALLBACK_URL": "https://a.example/x\r"}, "https://a.example/x"),
        ([], {"RELAY_CALLBACK_URL_FILE": "FILE"}, "https://file.example/x"),
        (["--url-file", "FILE"], {"RELAY_CALLBACK_URL": "https://a.example/x"}, "https://file.example/x"),
        (["--url", "https://b.example"], {"RELAY_CALLBACK_URL_FILE": "FILE"}, "https://b.example"),
        (["--endpoint", "sales"], {"RELAY_CALLBACK_URL": "https://a.example/x"}, None),
        ([], {}, None),
    ],
)
async def test_the_callback_url_comes_from_an_option_a_variable_or_a_file(
    words: list[str], environ: dict[str, str], url: str | None, tmp_path: Path
) -> None:
    """The command line comes first; `--endpoint` does without the variable."""
    file = tmp_path / "url"
    file.write_text("https://file.example/x\n")
    answers = Answers(JSONResponse(MADE, 201, headers=HEADERS))
    done = await ask(
        answers,
        "register",
        "j1",
        *(word.replace("FILE", str(file)) for word in words),
        **{name: value.replace("FILE", str(file)) for name, value in environ.items()},
    )
    assert done.exit_code == 0, done.output
    assert answers.bodies[0].get("callback_url") == url


async def test_register_says_who_asked() -> None:
    """With metadata, both sent with the event."""
    answers = Answers(JSONResponse(MADE, 201, headers=HEADERS))
    done = await ask(answers, "register", "j1", "--requested-by", "jane@acme.com", "--metadata", "team=sales")
    assert done.exit_code == 0, done.output
    assert answers.bodies == [{"job_id": "j1", "requested_by": "jane@acme.com", "metadata": {"team": "sales"}}]


def test_two_callback_urls_are_refused(tmp_path: Path) -> None:
    """On the command line; quotes are named as everywhere."""
    (tmp_path / "url").write_text("https://a.example")
    done = run("register", "j1", "--url", "https://b.example", "--url-file", str(tmp_path / "url"))
    assert (done.exit_code, "give --url or --url-file, not both" in done.output) == (2, True)
    assert "RELAY_CALLBACK_URL is in quotes" in run("register", "j1", RELAY_CALLBACK_URL="'https://a.example'").output


@pytest.mark.parametrize(
    ("more", "warning"),
    [
        ({"endpoints": []}, "relay: nobody will be notified of this job"),
        ({"endpoints": [], "warning": "nobody hears"}, "relay: nobody hears"),
        ({"endpoints": [], "warnings": ["first", "second\x1b"]}, "relay: first\nrelay: second·"),
        ({"endpoints": ["sales"]}, ""),
        ({}, ""),
    ],
)
async def test_register_warns_if_nobody_will_be_notified(more: dict[str, Any], warning: str) -> None:
    """On standard error, in the relay's words if it has some; the output stays its JSON."""
    done = await ask(Answers(JSONResponse(MADE | more, 201, headers=HEADERS)), "register", "j1")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == MADE | more
    assert done.stderr.startswith(warning)
    assert bool(done.stderr) is bool(warning)
