"""Each recipe of deploy/proxies in front of a real relay, with the real proxy. Run by `make proxies`.

A proxy that is not on this machine is skipped, by name; in CI, where it can be had, that is a failure.
"""

import asyncio
import datetime
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.conftest import API_KEY, Served, Stage, free_port
from tests.loopback import Request, answer, answering, serving

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "deploy/proxies"
VISITOR, STRANGER = "127.0.0.2", "127.0.0.3"
"""Two clients, neither of which is the proxy, which calls the relay from 127.0.0.1."""


@dataclass(frozen=True)
class Recipe:
    """One file of deploy/proxies, and how its program is started with it."""

    file: str
    program: str
    start: Callable[[Path, str, int], list[str]]
    """From a folder, the recipe with the test's addresses in it, and the proxy's port, to the command."""
    host: str


def nginx(folder: Path, recipe: str, port: int) -> list[str]:
    """Debian's nginx, with the recipe in its `http`."""
    return _nginx(folder, recipe.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"))


def nginx_in_a_site(folder: Path, recipe: str, port: int) -> list[str]:
    """nginx with an existing site that includes the recipe."""
    return _nginx(folder, _server(f"listen 127.0.0.1:{port} ssl;", recipe))


def nginx_proxy_manager(folder: Path, recipe: str, port: int) -> list[str]:
    """What Nginx Proxy Manager generates for a proxy host: its variables, then the text under Advanced."""
    upstream = recipe.partition("upstream-port ")[2].split()[0]
    variables = f'set $forward_scheme http; set $server "127.0.0.1"; set $port {upstream};'
    return _nginx(folder, _server(f"listen 127.0.0.1:{port} ssl; {variables}", recipe))


def _server(first: str, recipe: str) -> str:
    files = "ssl_certificate /etc/ssl/relay.pem; ssl_certificate_key /etc/ssl/relay.key;"
    return f"server {{ {first} {files}\n{recipe}\n}}"


def _nginx(folder: Path, servers: str) -> list[str]:
    placed = servers.replace("/etc/ssl/", f"{folder}/")
    main = f"daemon off; pid {folder}/nginx.pid; error_log stderr; events {{}}\n"
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in "client_body proxy fastcgi uwsgi scgi".split())
    (folder / "nginx.conf").write_text(f"{main}http {{ access_log off; {paths}\n{placed}\n}}")
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, recipe: str, port: int) -> list[str]:
    """Caddy with the certificate of the other proxies, because it can obtain none here."""
    options = f"{{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n\tdefault_sni {NAME}\n}}\n"
    secured = f"bind 127.0.0.1\n\ttls {folder}/relay.pem {folder}/relay.key"
    for name in (NAME, "example.com"):
        recipe = recipe.replace(f"\n{name} {{", f"\n{name}:{port} {{\n\t{secured}")
    (folder / "Caddyfile").write_text(options + recipe)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def traefik(folder: Path, recipe: str, port: int) -> list[str]:
    """Traefik with its file provider, and a certificate of its own."""
    (folder / "relay.yaml").write_text(recipe.replace("{certResolver: letsencrypt}", "{}"))
    words = ["--global.checknewversion=false", "--global.sendanonymoususage=false", "--log.level=ERROR"]
    listens = f"--entrypoints.websecure.address=127.0.0.1:{port}"
    return ["traefik", *words, listens, f"--providers.file.filename={folder}/relay.yaml"]


NAME = "relay.example.com"
SITES = [
    Recipe("nginx.conf", "nginx", nginx, NAME),
    Recipe("nginx-proxy-manager.conf", "nginx", nginx_proxy_manager, NAME),
    Recipe("Caddyfile", "caddy", caddy, NAME),
    Recipe("traefik.yaml", "traefik", traefik, NAME),
]
PATHS = [
    Recipe("nginx-below-a-path.conf", "nginx", nginx_in_a_site, "example.com"),
    Recipe("Caddyfile-below-a-path", "caddy", caddy, "example.com"),
    Recipe("traefik-below-a-path.yaml", "traefik", traefik, "example.com"),
]
each_site = pytest.mark.parametrize("recipe", SITES, ids=lambda recipe: recipe.file)
each_path = pytest.mark.parametrize("recipe", PATHS, ids=lambda recipe: recipe.file)


@dataclass
class Proxy:
    """A proxy at work."""

    recipe: Recipe
    port: int

    @property
    def origin(self) -> str:
        """The browser's origin."""
        return f"https://{self.recipe.host}:{self.port}"

    def client(self, address: str = VISITOR, **headers: str) -> httpx.AsyncClient:
        """A client with this address."""
        return httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"host": f"{self.recipe.host}:{self.port}", **headers},
            transport=httpx.AsyncHTTPTransport(verify=False, local_address=address),
            timeout=10,
        )


def certificate(folder: Path) -> None:
    """A self-signed certificate for the proxy."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "relay.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    (folder / "relay.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    )


@asynccontextmanager
async def before(recipe: Recipe, upstream: int, folder: Path) -> AsyncIterator[Proxy]:
    """Starts the recipe's proxy in front of a port of 127.0.0.1."""
    program = shutil.which(recipe.program, path=f"{os.environ['PATH']}:/usr/sbin:{ROOT / '.venv/bin'}")
    if program is None:
        said = f"{recipe.program} is missing: deploy/proxies/{recipe.file} is NOT tried"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    certificate(folder)
    port = free_port()
    text = (RECIPES / recipe.file).read_text()
    assert ("127.0.0.1:8080" in text) == (recipe.start is not nginx_proxy_manager)
    placed = text.replace("127.0.0.1:8080", f"127.0.0.1:{upstream}") + f"\n# upstream-port {upstream}\n"
    _, *words = recipe.start(folder, placed, port)
    log = folder / "proxy.log"
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(program, *words, env=environ, stdout=out, stderr=out)
    proxy = Proxy(recipe, port)
    try:
        async with asyncio.timeout(30), proxy.client() as http:
            while True:
                assert process.returncode is None, log.read_text()
                try:
                    answered = await http.get("/relay/" if recipe in PATHS else "/healthz")
                    if answered.status_code == 200 or "x-request-id" in answered.headers:
                        break  # the relay's own answer, and not that of a proxy that is not set up yet
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
        yield proxy
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 15)


CLAIMED = {
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-proto": "gopher",
    "x-forwarded-host": "evil.example",
    "Remote-User": "admin",
    "remote-groups": "admins",
    "Remote-Name": "admin",
    "Remote-Email": "admin@example.com",
}
"""What a visitor writes who would like to be somebody else."""


@each_site
async def test_the_proxy_sets_the_client_s_address(recipe: Recipe, tmp_path: Path) -> None:
    """Address, scheme and name come from the proxy alone; it removes what a visitor claims."""
    async with serving(answering(answer())) as upstream, before(recipe, upstream.port, tmp_path) as proxy:
        async with proxy.client(**CLAIMED) as http:
            assert (await http.get("/jobs?status=waiting")).status_code == 200
        got = seen(upstream.requests, "/jobs")
        assert got.target == "/jobs?status=waiting"
        assert got.headers["x-forwarded-for"] == VISITOR
        assert got.headers["x-forwarded-proto"] == "https"
        assert got.headers["host"] == f"{NAME}:{proxy.port}"
        assert got.headers["x-forwarded-host"] == f"{NAME}:{proxy.port}"
        assert [name for name, value in got.headers.items() if name.startswith("remote") and value] == []


def seen(requests: list[Request], path: str) -> Request:
    """The only request for a path."""
    [found] = [request for request in requests if request.target.startswith(path)]
    return found


async def started(stage: Stage, public_url: str) -> Served:
    """A relay that trusts the proxy at 127.0.0.1."""
    relay = stage.serve(server={"public_url": public_url, "trusted_proxies": ["127.0.0.1"]})
    await relay.start()
    return relay


@asynccontextmanager
async def relay_behind(recipe: Recipe, stage: Stage) -> AsyncIterator[Proxy]:
    relay = await started(stage, f"https://{NAME}")
    async with before(recipe, int(relay.url.rpartition(":")[2]), stage.folder) as proxy:
        yield proxy


BEARER = {"authorization": f"Bearer {API_KEY}"}


@each_site
async def test_api_and_dashboard_work_through_the_proxy(recipe: Recipe, stage: Stage) -> None:
    """A job is registered; a person logs in, sees it, and logs out: forms are accepted, and the cookie is for HTTPS
    only."""
    async with relay_behind(recipe, stage) as proxy, proxy.client() as http:
        job = {"job_id": "j1", "callback_url": f"{stage.receiver_url}/in"}
        assert (await http.post("/v1/registrations", json=job, headers=BEARER)).status_code == 201
        large = {"job_id": "j2", "callback_url": f"{stage.receiver_url}/in", "metadata": {"a": "x" * 300_000}}
        assert (await http.post("/v1/registrations", json=large, headers=BEARER)).status_code == 413
        form = {"api_key": API_KEY, "next": "/jobs"}
        entered = await http.post("/login", data=form, headers={"origin": proxy.origin})
        assert (entered.status_code, entered.headers["location"]) == (303, "/jobs")
        kept = entered.headers["set-cookie"]
        assert ("secure" in kept.lower(), "httponly" in kept.lower()) == (True, True)
        page = await http.get("/jobs", headers={"cookie": kept.partition(";")[0]})
        assert "j1" in page.text


@each_site
async def test_server_sent_events_are_not_buffered(recipe: Recipe, stage: Stage) -> None:
    """Events arrive as they happen, and the proxy holds nothing back."""
    async with relay_behind(recipe, stage) as proxy, proxy.client() as http:
        entered = await http.post("/login", data={"api_key": API_KEY}, headers={"origin": proxy.origin})
        cookie = {"cookie": entered.headers["set-cookie"].partition(";")[0]}
        async with asyncio.timeout(10), http.stream("GET", "/live", headers=cookie) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await anext(lines) == "retry: 3000"
            job = {"job_id": "j1", "callback_url": f"{stage.receiver_url}/in"}
            async with proxy.client() as other:
                assert (await other.post("/v1/registrations", json=job, headers=BEARER)).status_code == 201
            while await anext(lines) != "event: changed":
                pass


@each_site
async def test_waits_and_the_feed_pass_the_proxy(recipe: Recipe, stage: Stage) -> None:
    """The first message of the feed comes within a second, uncompressed though the client would take that; a wait is
    answered before its time is over."""
    async with relay_behind(recipe, stage) as proxy, proxy.client() as http:
        headers = {**BEARER, "accept-encoding": "gzip, br"}
        async with asyncio.timeout(1), http.stream("GET", "/v1/events/stream", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert "content-encoding" not in answer.headers
            async for line in answer.aiter_lines():
                if line == "event: hello":
                    break
        job = {"job_id": "j1", "callback_url": f"{stage.receiver_url}/in"}
        assert (await http.post("/v1/registrations", json=job, headers=BEARER)).status_code == 201
        async with asyncio.timeout(2):
            waited = await http.get("/v1/jobs/j1", params={"wait": "2"}, headers=headers)
        assert (waited.status_code, waited.json()["ended"]) == (200, False)


@each_site
async def test_one_client_s_wrong_keys_lock_out_nobody_else(recipe: Recipe, stage: Stage) -> None:
    """Wrong keys count against the client's address, not against the proxy, and no header changes that."""
    async with relay_behind(recipe, stage) as proxy:
        async with proxy.client(STRANGER) as http:
            answers = [
                (
                    await http.get(
                        "/v1/jobs", headers={"authorization": f"Bearer relay_{n:043}", "x-forwarded-for": f"9.9.9.{n}"}
                    )
                )
                for n in range(15)
            ]
        assert [one.status_code for one in answers][-1] == 429
        async with proxy.client(VISITOR) as http:
            assert (await http.get("/v1/jobs", headers=BEARER)).status_code == 200


@each_path
async def test_the_prefix_reaches_the_relay_unchanged(recipe: Recipe, tmp_path: Path) -> None:
    """The proxy keeps the prefix, and only it sets the client's address."""
    async with serving(answering(answer())) as upstream, before(recipe, upstream.port, tmp_path) as proxy:
        async with proxy.client(**CLAIMED) as http:
            assert (await http.get("/relay/jobs?status=waiting")).status_code == 200
            assert (await http.get("/relay")).status_code in {200, 308}
        got = seen(upstream.requests, "/relay/jobs")
        assert got.target == "/relay/jobs?status=waiting"
        assert got.headers["x-forwarded-for"] == VISITOR
        assert [name for name, value in got.headers.items() if name.startswith("remote") and value] == []


@each_path
async def test_the_relay_works_below_a_path(recipe: Recipe, stage: Stage) -> None:
    """Login, pages and their links stay below it."""
    relay = await started(stage, "https://example.com/relay")
    async with before(recipe, int(relay.url.rpartition(":")[2]), stage.folder) as proxy, proxy.client() as http:
        assert (await http.get("/relay/healthz")).status_code == 200
        entered = await http.post("/relay/login", data={"api_key": API_KEY}, headers={"origin": proxy.origin})
        assert entered.status_code == 303
        assert entered.headers["location"].startswith("/relay/")
        assert "path=/relay" in entered.headers["set-cookie"].lower()
        page = await http.get("/relay/jobs", headers={"cookie": entered.headers["set-cookie"].partition(";")[0]})
        assert page.status_code == 200
        assert 'href="/jobs' not in page.text
