"""The configuration: what it accepts, what it makes of it, and how it says what is wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import config
from relay.config import FORMAT_NAMES, Config, duration
from relay.errors import ConfigError
from relay.model import DAY, HOUR, MINUTE, SECOND, EventType
from relay.signing import standard_webhooks

KEY = "exec_live_" + "a" * 40
RELAY_KEY = "relay_" + "x" * 43
MANY = "hunter2" * 5
"""A secret, long enough for every place where one may stand."""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problem(folder: Path, text: str | bytes, **environ: str) -> str:
    """The report on an invalid configuration."""
    with pytest.raises(ConfigError) as refused:
        config.load(write(folder, text), environ)
    return str(refused.value).replace(str(folder) + "/", "")


def made(**sections: Any) -> Config:
    """A configuration with the required settings, and these sections."""
    return config.from_mapping({"exec": {"api_key": "k"}, **sections})


def refusal(**sections: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        made(**sections)
    return str(refused.value)


def test_execs_key_is_the_only_required_setting() -> None:
    """Everything else has its default."""
    loaded = config.load(None, {"RELAY_EXEC__API_KEY": KEY})
    [space] = loaded.workspaces
    assert (space.name, space.api_key.get_secret_value()) == ("default", KEY)
    assert space.base_url == loaded.exec.base_url == "https://api.exec.com/rest/v1"
    assert (space.budget.per_minute, space.budget.per_day, space.budget.share) == (60, 1000, 0.8)
    assert loaded.exec.timeout == 10 * SECOND
    assert loaded.exec.api_key is None
    polling = loaded.polling
    assert (polling.strategy, polling.tick, polling.interval) == ("adaptive", SECOND, 15 * SECOND)
    assert (polling.max_age, polling.concurrency) == (24 * HOUR, 20)
    rules, wait = loaded.delivery, (5 * SECOND, 30 * SECOND, 5 * MINUTE, 30 * MINUTE)
    assert rules.schedule == (0, *wait, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
    assert (rules.timeout, rules.concurrency, rules.per_host, rules.disable_after) == (15 * SECOND, 64, 4, 5 * DAY)
    assert (loaded.storage.url, loaded.storage.retention) == ("sqlite:///data/relay.db", 30 * DAY)
    assert (loaded.server.host, loaded.server.port, loaded.server.public_url) == ("127.0.0.1", 8080, None)
    security = loaded.security
    assert (security.api_keys, security.secret_key, security.allow_http) == ((), None, False)
    assert (security.allow_networks, security.deny_networks, loaded.endpoints) == ((), (), ())
    assert (loaded.logging.format, loaded.logging.level) == ("json", "info")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exec:\n  api_key: k\npolling:\n  intervall: 5s\n", 'config.yaml:4: polling.intervall: unknown key; did you mean "interval"?'),
        ("exec:\n  api_key: k\npoling:\n  interval: 5s\n", 'config.yaml:3: poling: unknown key; did you mean "polling"?'),
        ("exec:\n  api_key: k\npolling:\n  zzz: 5s\n", "config.yaml:4: polling.zzz: unknown key; there is concurrency, interval,"),
        ("exec:\n  api_key: k\n  budget: {perday: 1}\n", 'config.yaml:3: exec.budget.perday: unknown key; did you mean "per_day"?'),
        ("exec:\n  api_key: k\nendpoints:\n  -\n    name: a\n    url: https://x.example\n    fromat: x\n", 'config.yaml:7: endpoints[0].fromat: unknown key; did you mean "format"?'),
        ("exec:\n  api_key: k\nendpoints:\n  - name: a\n", "config.yaml:4: endpoints[0].url: is missing"),
        ("exec:\n  api_key: k\npolling:\n  interval: 15\n", "config.yaml:4: polling.interval: say which unit, such as 15s"),
        ("exec:\n  api_key: k\npolling:\n  interval: soon\n", "config.yaml:4: polling.interval: write a duration"),
        ("exec:\n  api_key: k\npolling:\n  interval: 3w\n", "config.yaml:4: polling.interval: write a duration"),
        ("exec:\n  api_key: k\npolling:\n  interval: -3s\n", "config.yaml:4: polling.interval: write a duration"),
        ("exec:\n  api_key: k\npolling:\n  interval: " + "9" * 400 + "d\n", "config.yaml:4: polling.interval: write a duration"),
        ("exec:\n  api_key: k\npolling:\n  interval:\n", "config.yaml:4: polling.interval: has no value"),
        ("exec:\n  api_key: k\npolling:\n  strategy: adaptve\n", 'config.yaml:4: polling.strategy: must be one of adaptive, interval; did you mean "adaptive"?'),
        ("exec:\n  api_key: k\npolling: 5s\n", "config.yaml:3: polling: must hold keys and values"),
        ("exec:\n  api_key: k\ndelivery:\n  timeout: 3m\n", "config.yaml:4: delivery.timeout: must be 1s to 30s"),
        ("exec:\n  api_key: k\ndelivery:\n  schedule:\n    - 0s\n    - 5\n", "config.yaml:6: delivery.schedule[1]: say which unit"),
        ("exec:\n  api_key: k\ndelivery:\n  schedule: []\n", "config.yaml:4: delivery.schedule: must have 1 to 50 entries"),
        ("exec:\n  api_key: k\ndelivery:\n  schedule: 5s\n", "config.yaml:4: delivery.schedule: must be a list"),
        ("exec:\n  api_key: k\ndelivery:\n  per_host: true\n", "config.yaml:4: delivery.per_host: must be a whole number, 1 to 10,000"),
        ("exec:\n  api_key: k\ndelivery:\n  per_host: 4.0\n", "config.yaml:4: delivery.per_host: must be a whole number"),
        ("exec:\n  api_key: k\nserver:\n  port: eighty\n", "config.yaml:4: server.port: must be a whole number, 0 to 65,535"),
        ("exec:\n  api_key: k\nserver:\n  port: 70000\n", "config.yaml:4: server.port: must be a whole number, 0 to 65,535"),
        ("exec:\n  api_key: k\nserver:\n  host: 127.0.0.1:8080\n", "config.yaml:4: server.host: must be a host name or an address alone"),
        ("exec:\n  api_key: k\nserver:\n  trusted_proxies: [proxy]\n", "config.yaml:4: server.trusted_proxies[0]: must be a network"),
        ("exec:\n  api_key: k\nserver:\n  trusted_user_header: Remote-User\n", "config.yaml:4: server.trusted_user_header: is believed from server.trusted_proxies only, and there are none"),
        ("exec:\n  api_key: k\nserver:\n  trusted_user_header: Remote_User\n", "config.yaml:4: server.trusted_user_header: must be a header's name of letters, digits and -"),
        ("exec:\n  api_key: k\nserver:\n  trusted_user_header: Cookie\n", "config.yaml:4: server.trusted_user_header: is a header that every client or proxy may send"),
        ("exec:\n  api_key: k\nserver:\n  trusted_role_header: Remote-Groups\n", "config.yaml:4: server.trusted_role_header: does nothing without server.trusted_user_header"),
        ("exec:\n  api_key: k\nserver:\n  trusted_user_header: R\n  trusted_role_header: r\n  trusted_proxies: [10.0.0.1]\n", "config.yaml:5: server.trusted_role_header: is server.trusted_user_header; name another header"),
        ("exec:\n  api_key: k\nserver:\n  trusted_user_header: R\n  trusted_proxies: [10.0.0.1, 0.0.0.0/0]\n", "config.yaml:5: server.trusted_proxies[1]: is every address, and each could name any user in R"),
        ("exec:\n  api_key: k\nserver:\n  trusted_user_header: R\n  trusted_proxies: ['::/0']\n", "config.yaml:5: server.trusted_proxies[0]: is every address"),
        ("exec:\n  api_key: k\nserver:\n  trusted_user_header: R\n  trusted_proxies: ['::ffff:0.0.0.0/96']\n", "config.yaml:5: server.trusted_proxies[0]: is every address"),
        ("exec:\n  api_key: k\nserver:\n  trusted_roles: {ops: owner}\n", "config.yaml:4: server.trusted_roles.ops: must be one of admin, register, read"),
        ("exec:\n  api_key: k\nserver:\n  trusted_default_role: all\n", "config.yaml:4: server.trusted_default_role: must be one of"),
        ("exec:\n  api_key: k\nsecurity:\n  requests_per_minute: 0\n", "config.yaml:4: security.requests_per_minute: must be a whole number, 1 to 1,000,000"),
        ("exec:\n  api_key: k\nserver:\n  public_url: relay.example\n", "config.yaml:4: server.public_url: does not start with https://"),
        ("exec:\n  api_key: 12345\n", "config.yaml:2: exec.api_key: must be text; put it in quotes"),
        ("exec:\n  api_key: 'a b'\n", "config.yaml:2: exec.api_key: must be the API key as Exec shows it"),
        ("exec:\n  api_key: ''\n", "config.yaml:2: exec.api_key: must not be empty"),
        ("exec:\n  api_key: k\n  budget: {share: 0}\n", "config.yaml:3: exec.budget.share: must be a number above 0 and at most 1"),
        ("exec:\n  api_key: k\n  budget: {share: .nan}\n", "config.yaml:3: exec.budget.share: must be a number above 0 and at most 1"),
        ("exec:\n  api_key: k\n  base_url: exec.com\n", "config.yaml:3: exec.base_url: does not start with https://"),
        ("exec:\n  api_key: k\n  base_url: https:///x\n", "config.yaml:3: exec.base_url: names no host"),
        ("exec:\n  api_key: k\n  base_url: http://exec.com/\n", "config.yaml:3: exec.base_url: must be https"),
        ("exec:\n  api_key: k\n  base_url: https://u:pw@exec.com/\n", "config.yaml:3: exec.base_url: must hold no user name or password"),
        ("exec:\n  api_key: k\n  base_url: https://exec.com/?a=b\n", "config.yaml:3: exec.base_url: must have no query"),
        ("workspaces:\n  - {name: a, api_key: k}\n  - {name: b, api_key: k, base_url: 'http://exec.com'}\n", "config.yaml:3: workspaces[1].base_url: must be https"),
        ("workspaces:\n  - {name: a, api_key: k}\n  - {name: a, api_key: l}\n", "config.yaml:3: workspaces[1].name: needs a name of its own; this one is that of workspaces[0]"),
        ("workspaces:\n  - {name: a, api_key: k}\n  - {name: b, api_key: k}\n", "config.yaml:3: workspaces[1].api_key: is the key of workspaces[0] too: Exec counts the requests of a key together"),
        ("workspaces:\n  - {name: A b, api_key: k}\n", "config.yaml:2: workspaces[0].name: must be 1 to 63 of a-z"),
        ("exec:\n  api_key: k\nworkspaces:\n  - {name: a, api_key: b}\n", "config.yaml:3: workspaces: give exec.api_key for one workspace or workspaces for several, not both"),
        ("polling:\n  tick: 1s\n", "config.yaml:1: exec.api_key: is missing: set it, or RELAY_EXEC__API_KEY, to a key from Exec"),
        ("exec:\n  api_key: k\nstorage:\n  url: mysql://x\n", "config.yaml:4: storage.url: must start with sqlite:/// and name a file, or with postgresql://"),
        ("exec:\n  api_key: k\nstorage:\n  url: sqlite:///\n", "config.yaml:4: storage.url: must start with sqlite:/// and name a file"),
        ("exec:\n  api_key: k\nsecurity:\n  allow_http: 1\n", "config.yaml:4: security.allow_http: must be true or false"),
        ("exec:\n  api_key: k\nsecurity:\n  allow_networks: [banana]\n", "config.yaml:4: security.allow_networks[0]: must be a network"),
        ("exec:\n  api_key: k\nsecurity:\n  deny_networks: [10]\n", "config.yaml:4: security.deny_networks[0]: must be a network"),
        ("exec:\n  api_key: k\nsecurity:\n  api_keys: [short]\n", "config.yaml:4: security.api_keys[0]: must have at least 24 ASCII characters"),
        ("exec:\n  api_key: k\nsecurity:\n  api_keys: [sha256:12]\n", "config.yaml:4: security.api_keys[0].hash: must be sha256: and 64 hexadecimal digits"),
        ("exec:\n  api_key: k\nsecurity:\n  api_keys: [5]\n", "config.yaml:4: security.api_keys[0]: must be a key, its hash, or {name,"),
        ("exec:\n  api_key: k\nsecurity:\n  api_keys: [{name: a}]\n", "config.yaml:4: security.api_keys[0]: must be a key, its hash, or {name,"),
        ("exec:\n  api_key: k\nsecurity:\n  api_keys: [{kye: a, key: kkkkkkkkkkkkkkkkkkkkkkkkkk}]\n", 'config.yaml:4: security.api_keys[0].kye: unknown key; did you mean "key"?'),
        ("exec:\n  api_key: k\nsecurity:\n  api_keys:\n  - {key: kkkkkkkkkkkkkkkkkkkkkkkkkk, scopes: [reed]}\n", 'config.yaml:5: security.api_keys[0].scopes[0]: must be one of register, subscribe, read, admin; did you mean "read"?'),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', format: slak}\n", f'config.yaml:4: endpoints[0].format: must be one of {", ".join(FORMAT_NAMES)}; did you mean "slack"?'),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'http://x.example/secret'}\n", "config.yaml:4: endpoints[0].url: must be https, and is http://x.example/…; or set security.allow_http"),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', events: [job.complete]}\n", 'did you mean "job.completed"?'),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', events: []}\n", "config.yaml:4: endpoints[0].events: is empty, so that the endpoint gets nothing; leave it out, or name the endpoint in operator.endpoints"),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: ops-chat, url: 'https://x.example/'}\noperator:\n  endpoints: [ops-chat, ops-chta]\n", 'config.yaml:6: operator.endpoints[1]: there is no endpoint "ops-chta"; did you mean "ops-chat"?'),
        ("exec:\n  api_key: k\noperator:\n  endpoints: [ops]\n", 'config.yaml:4: operator.endpoints[0]: there is no endpoint "ops"; name an endpoint of the section endpoints'),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: all, url: 'pull:'}\noperator:\n  endpoints: [all]\n", 'config.yaml:6: operator.endpoints[0]: there is no endpoint "all" that is sent anything; name an endpoint of the section endpoints'),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', fallback: bakcup}\n  - {name: backup, url: 'https://y.example/'}\n", 'config.yaml:4: endpoints[0].fallback: there is no endpoint "bakcup"; did you mean "backup"?'),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', fallback: a}\n", "config.yaml:4: endpoints[0].fallback: is this endpoint itself; name another endpoint"),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', fallback: all}\n  - {name: all, url: 'pull:'}\n", 'config.yaml:4: endpoints[0].fallback: there is no endpoint "all" that is sent anything; name one of the section endpoints'),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', secret: whsec_c2hvcnQ=}\n", "config.yaml:4: endpoints[0].secret: a secret is whsec_"),
        ("exec:\n  api_key: k\nendpoints:\n  - name: a\n    url: https://x.example/\n    template:\n      text: fine\n      list:\n      - {a: '{{ job.idd }}'}\n", 'config.yaml:9: endpoints[0].template.list[0].a: there is no placeholder "job.idd"; did you mean "job.id"?'),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', template: {}}\n", "config.yaml:4: endpoints[0].template: a template is a JSON object"),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', headers: {Host: x}}\n", "config.yaml:4: endpoints[0].headers: the relay sets host itself"),
        ("exec:\n  api_key: k\nendpoints:\n  - {name: a, url: 'https://x.example/', headers: {x-team: 5}}\n", "config.yaml:4: endpoints[0].headers: each name and value must be text"),
        ("exec:\n  api_key: k\nlogging:\n  level: warn\n", 'config.yaml:4: logging.level: must be one of debug, info, warning, error; did you mean "warning"?'),
    ],
)  # fmt: skip
def test_a_problem_names_file_line_and_key(tmp_path: Path, text: str, expected: str) -> None:
    """A wrong key, type, unit, bound or URL is refused in one line: file, line, key, and what to write instead."""
    found = problem(tmp_path, text)
    assert expected in found
    assert found.count("\n") == 0


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    """Those of single keys, and those between keys."""
    found = problem(
        tmp_path,
        "server: {prot: 1}\n"
        "polling:\n  tick: 5\n  max_agee: 1h\n"
        "workspaces:\n"
        "  - {name: a, api_key: k, base_url: 'http://exec.example'}\n"
        "  - {name: b}\n"
        "  - {name: a, api_key: k}\n"
        "endpoints:\n"
        "  - {name: x, url: 'https://x.example', format: slak}\n"
        "  - {name: y, url: 'http://x.example'}\n"
        "bogus: 1\n",
    )
    said = [line.split(": ")[:2] for line in found.splitlines()]
    assert said == [
        ["config.yaml:1", "server.prot"],
        ["config.yaml:3", "polling.tick"],
        ["config.yaml:4", "polling.max_agee"],
        ["config.yaml:6", "workspaces[0].base_url"],
        ["config.yaml:7", "workspaces[1].api_key"],
        ["config.yaml:8", "workspaces[2].name"],
        ["config.yaml:10", "endpoints[0].format"],
        ["config.yaml:11", "endpoints[1].url"],
        ["config.yaml:12", "bogus"],
    ]


def test_an_invalid_section_causes_no_problems_in_others(tmp_path: Path) -> None:
    """If `security` is invalid, nothing is refused that it may allow."""
    text = (
        "exec: {api_key: k}\nsecurity: {allow_http: true, alow: 1}\nendpoints: [{name: a, url: 'http://x.example'}]\n"
    )
    assert problem(tmp_path, text).count("\n") == 0


def test_a_problem_of_an_inherited_key_is_reported_once(tmp_path: Path) -> None:
    """And not once for each workspace that inherits it."""
    text = "exec: {budget: {per_day: 0}}\nworkspaces: [{name: a, api_key: k}, {name: b, api_key: l}]\n"
    assert problem(tmp_path, text) == ("config.yaml:1: exec.budget.per_day: must be a whole number, 1 to 10,000,000")


@pytest.mark.parametrize(
    "text",
    [
        "exec: {api_key: [SECRET]}",
        "exec: {api_key: {SECRET: SECRET}}",
        "exec: {api_key: 'SECRET with spaces'}",
        "exec: {api_key SECRET}",
        "exec: {api_key: SECRET: SECRET}",
        "exec: {api_key: *SECRET}",
        "exec: {api_key: &SECRET a, x: &SECRET b}",
        "exec: {api_key: !SECRET!SECRET a}",
        "exec: {api_key: !SECRET}",
        "exec: {api_key: '${SECRET:-}'}",
        "exec: {api_key: \"SECRET}",
        "exec: {api_key: k, base_url: 'https://SECRET@exec.example'}",
        "exec: {api_key: k, base_url: 'http://exec.example/SECRET'}",
        "exec: {api_key: k}\nstorage: {url: 'mysql://u:SECRET@host/'}",
        "exec: {api_key: k}\nsecurity: {api_keys: ['SECRET SECRET'], secret_key: {SECRET: 1}}",
        "exec: {api_key: k}\nsecurity: {api_keys: {SECRET: 1}}",
        "exec: {api_key: k}\nsecurity: {api_keys: [{key: SECRET, scopes: [SECRET]}]}",
        "exec: {api_key: k}\nsecurity: {api_keys: [{key: SECRET, SECRET: SECRET}]}",
        "exec: {api_key: k}\nsecurity: {api_keys: ['sha256:SECRET']}",
        "exec: {api_key: k}\nendpoints: [{name: a, url: SECRET, secret: SECRET, format: SECRET}]",
        "exec: {api_key: k}\nendpoints: [{name: SECRET SECRET, url: 'https://x/SECRET', secret: SECRET}]",
        "exec: {api_key: k}\nendpoints: [{name: a, url: 'http://x.example/SECRET'}]",
        "exec: {api_key: k}\nendpoints: [{name: a, url: 'https://x.example/SECRET SECRET'}]",
        "exec: {api_key: k}\nendpoints: [{name: a, url: 'https://x.example', headers: {authorization: 'SECRET\u00fc'}}]",
    ],
)  # fmt: skip
def test_no_secret_is_echoed(tmp_path: Path, text: str) -> None:
    """In any key and with any problem, the text of a secret is not in the error."""
    assert "hunter2" not in problem(tmp_path, text.replace("SECRET", MANY))


def test_no_secret_is_shown() -> None:
    """The configuration can be logged: keys, secrets, passwords, callback URLs and header values are not in it."""
    secret = standard_webhooks.new_secret(b"hunter2" * 5)
    endpoint = {"name": "a", "url": f"https://x.example/{MANY}", "secret": secret, "headers": {"x-key": MANY}}
    shown = repr(
        config.from_mapping(
            {
                "exec": {"api_key": MANY},
                "security": {"secret_key": MANY, "api_keys": [MANY]},
                "storage": {"url": f"postgresql://relay:{MANY}@db/relay"},
                "endpoints": [endpoint],
            }
        )
    )
    assert "hunter2" not in shown
    assert secret not in shown


def test_several_workspaces_inherit_what_is_shared() -> None:
    """Base URL and each part of the budget come from `exec` unless the workspace has its own."""
    loaded = config.from_mapping(
        {
            "exec": {"base_url": "https://a.example/", "budget": {"share": 0.5, "per_day": 7}},
            "workspaces": [
                {"name": "a", "api_key": "k"},
                {"name": "b", "api_key": "k", "base_url": "https://b.example", "budget": {"share": 0.25}},
            ],
        }
    )
    assert [space.base_url for space in loaded.workspaces] == ["https://a.example", "https://b.example"]
    assert [space.budget.share for space in loaded.workspaces] == [0.5, 0.25]
    assert [space.budget.per_day for space in loaded.workspaces] == [7, 7]


def test_plain_http_to_exec_is_allowed_on_loopback_only() -> None:
    """Elsewhere it needs `security.allow_http`."""
    for url in ("http://127.0.0.1:9/rest/v1", "http://localhost:9", "http://[::1]:9"):
        assert made(exec={"api_key": "k", "base_url": url}).workspaces[0].base_url == url
    away = {"exec": {"api_key": "k", "base_url": "http://exec:9"}}
    assert "must be https" in refusal(**away)
    assert made(**away, security={"allow_http": True}).workspaces[0].base_url == "http://exec:9"


def test_only_the_hash_of_an_api_key_is_kept() -> None:
    """A plain key, its hash and a mapping with either mean the same key; names are given in order."""
    plain = made(security={"api_keys": [RELAY_KEY]}).security.api_keys[0]
    keys: list[Any] = [
        RELAY_KEY,
        plain.hash,
        {"name": "ops", "key": RELAY_KEY, "scopes": ["read"]},
        {"hash": plain.hash},
    ]
    loaded = made(security={"api_keys": keys})
    assert {key.hash for key in loaded.security.api_keys} == {plain.hash}
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", plain.hash)
    assert [key.name for key in loaded.security.api_keys] == ["key-1", "key-2", "ops", "key-4"]
    assert [len(key.scopes) for key in loaded.security.api_keys] == [4, 4, 1, 4]
    assert RELAY_KEY not in repr(loaded) + str(loaded.model_dump())
    assert "[1].name: needs a name of its own" in refusal(
        security={"api_keys": [RELAY_KEY, {"name": "key-1", "key": MANY}]}
    )


def test_with_an_api_key_the_relay_may_be_open_to_others() -> None:
    """Any address may be bound if clients need a key."""
    assert made(server={"host": "0.0.0.0"}, security={"api_keys": [RELAY_KEY]}).server.host == "0.0.0.0"  # noqa: S104
    for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1"):
        assert made(server={"host": host}).server.host == host


def test_an_endpoint_keeps_its_settings() -> None:
    """Format, events, secret and headers, and their defaults."""
    secret = standard_webhooks.new_secret(b"x" * 32)
    full = {"name": "a", "url": "https://x.example/y?z", "format": "slack", "events": ["job.started"], "secret": secret}
    loaded = made(endpoints=[{**full, "headers": {"x-team": "sales"}}, {"name": "b", "url": "https://x.example"}])
    first, second = loaded.endpoints
    assert first.url.get_secret_value() == "https://x.example/y?z"
    assert first.secret is not None
    assert (first.format, first.events, first.secret.get_secret_value()) == ("slack", (EventType.STARTED,), secret)
    assert first.headers == {"x-team": "sales"}
    assert (second.format, second.events, second.secret, second.headers) == ("auto", None, None, {})


def test_an_endpoint_for_the_operator_alone_may_have_no_events() -> None:
    """`operator.endpoints` names it."""
    endpoint = {"name": "ops", "url": "https://x.example", "events": []}
    loaded = made(endpoints=[endpoint], operator={"endpoints": ["ops"]})
    assert loaded.endpoints[0].events == ()
    assert loaded.operator.endpoints == ("ops",)
    assert loaded.operator.max_per_hour == 10


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_every_format_can_be_chosen(name: str) -> None:
    """`auto` and each existing format."""
    assert made(endpoints=[{"name": "a", "url": "https://x.example", "format": name}]).endpoints[0].format == name


def test_private_addresses_are_not_checked_by_the_configuration() -> None:
    """The egress guard checks them, with the networks that the operator allowed."""
    for url in ("https://10.0.0.1/", "https://localhost/", "https://169.254.169.254/"):
        assert made(endpoints=[{"name": "a", "url": url}]).endpoints[0].url.get_secret_value() == url


def test_networks_are_read() -> None:
    """Networks and single addresses, of both kinds."""
    security = made(security={"allow_networks": ["10.1.0.0/16", "::1"], "deny_networks": ["10.1.2.3/16"]}).security
    assert [str(network) for network in security.allow_networks] == ["10.1.0.0/16", "::1/128"]
    assert [str(network) for network in security.deny_networks] == ["10.1.0.0/16"]
    server = made(server={"trusted_proxies": ["::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "fd00::/8"]}).server
    assert [str(network) for network in server.trusted_proxies] == ["10.0.0.0/8", "10.1.2.3/32", "fd00::/8"]


# --- durations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        *[("0", 0), (0, 0), ("0s", 0), ("500ms", 500), ("15s", 15_000), ("1h30m", 90 * MINUTE), ("30d", 30 * DAY)],
        *[("1.5h", 90 * MINUTE), ("1h 30m", 90 * MINUTE)],
    ],
)
def test_durations_are_whole_milliseconds(text: Any, ms: int) -> None:
    """In all units."""
    assert duration(text) == ms


@pytest.mark.parametrize(
    "text", [15, 1.5, "15", "1.5", True, None, "", "s", "15 seconds", "1m!", "٣s", "-5s", [], "1e3s"]
)
def test_invalid_durations_are_refused(text: Any) -> None:
    """No unit is guessed."""
    with pytest.raises(ValueError, match="unit|duration|value"):
        duration(text)


@given(st.integers(0, 100 * 365 * DAY))
def test_a_duration_in_any_units_has_the_same_milliseconds(ms: int) -> None:
    """Written with any units, it comes back as the same number of milliseconds."""
    days, rest = divmod(ms, DAY)
    hours, rest = divmod(rest, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    seconds, left = divmod(rest, SECOND)
    assert duration(f"{days}d{hours}h{minutes}m{seconds}s{left}ms") == duration(f"{ms}ms") == ms


# --- anything at all -------------------------------------------------------------------------------------------

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_KEYS = st.sampled_from("exec workspaces security endpoints api_key api_keys key hash name url budget share".split())
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=4), inner, max_size=4),
)


@given(st.dictionaries(_KEYS | st.text(max_size=4), _VALUES, max_size=5))
def test_any_mapping_is_a_configuration_or_a_clear_error(data: dict[str, Any]) -> None:
    """No value causes another error, and a configuration always has a workspace."""
    try:
        assert config.from_mapping(data).workspaces
    except ConfigError as error:
        assert str(error)
