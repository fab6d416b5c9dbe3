"""Problems between keys: they only show when the whole configuration is validated."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from relay.config.reader import KeyPath, Problem, format_path
from relay.config.schema import Config, EndpointSection, Server, Workspace
from relay.egress import is_loopback, mask_url
from relay.model import PULL_URL
from relay.suggestions import did_you_mean_or_list


def without_invalid_parts(data: Mapping[str, Any], faulty: frozenset[KeyPath]) -> dict[str, Any]:
    """The data without its invalid sections and list entries, so that the rest can be validated too."""
    invalid_sections = {path[0] for path in faulty}
    valid = {name: value for name, value in data.items() if name not in invalid_sections}
    for name in ("workspaces", "endpoints"):
        if name not in valid and (name,) not in faulty and name in data:
            valid[name] = [data[name][path[1]] for path in _entries(data, faulty, name)]
    return valid


def _entries(data: Mapping[str, Any], faulty: frozenset[KeyPath], name: str) -> list[tuple[str, int]]:
    """The paths of the valid entries of a list."""
    entries = data.get(name)
    count = len(entries) if isinstance(entries, list | tuple) and (name,) not in faulty else 0
    return [(name, number) for number in range(count) if (name, number) not in faulty]


def check_consistency(config: Config, data: Mapping[str, Any], faulty: frozenset[KeyPath]) -> Iterator[Problem]:
    """Contradictions in a configuration that `without_invalid_parts(data)` made."""
    spaces = list(zip(_entries(data, faulty, "workspaces"), config.workspaces, strict=True))
    endpoints = list(zip(_entries(data, faulty, "endpoints"), config.endpoints, strict=True))
    keys = [(("security", "api_keys", number), key) for number, key in enumerate(config.security.api_keys)]
    yield from _one_or_several(data)
    yield from _same_names((path, space.name) for path, space in spaces)
    yield from _same_keys(spaces)
    yield from _same_names((path, endpoint.name) for path, endpoint in endpoints)
    yield from _same_names((path, key.name) for path, key in keys)
    yield from _operator_endpoints(config, endpoints, faulty)
    yield from _fallbacks(endpoints, faulty)
    yield from _login_by_proxy(config.server)
    if any(path[0] == "security" for path in faulty):
        return  # unknown what it allows
    if not config.security.allow_http:
        own_urls = [(path, space.base_url) for path, space in spaces if "base_url" in space.model_fields_set]
        yield from _plaintext_exec_urls([(("exec",), config.exec.base_url), *own_urls])
        yield from _plaintext_endpoint_urls((path, endpoint.url.get_secret_value()) for path, endpoint in endpoints)


def _one_or_several(data: Mapping[str, Any]) -> Iterator[Problem]:
    exec, spaces = data.get("exec"), data.get("workspaces")
    key = exec.get("api_key") if isinstance(exec, Mapping) else None
    if key is not None and spaces:
        yield Problem(("workspaces",), "give exec.api_key for one workspace or workspaces for several, not both")
    if key is None and not spaces and (exec is None or isinstance(exec, Mapping)):
        text = "is missing: set it, or RELAY_EXEC__API_KEY, to a key from Exec (Settings > API); or write workspaces"
        yield Problem(("exec", "api_key"), text)


def _login_by_proxy(server: Server) -> Iterator[Problem]:
    """Who may reach the port could name any user, unless the proxies are known and few."""
    key = ("server", "trusted_user_header")
    if server.trusted_user_header is None:
        if server.trusted_role_header is not None:
            text = "does nothing without server.trusted_user_header; name the header with the user too"
            yield Problem(("server", "trusted_role_header"), text)
        return
    if not server.trusted_proxies:
        text = "is believed from server.trusted_proxies only, and there are none; name the address of the proxy there"
        yield Problem(key, text)
    for number, network in enumerate(server.trusted_proxies):
        if network.prefixlen == 0:
            text = f"is every address, and each could name any user in {server.trusted_user_header}; name the proxy's"
            yield Problem(("server", "trusted_proxies", number), text)
    if server.trusted_user_header.lower() == (server.trusted_role_header or "").lower():
        yield Problem(("server", "trusted_role_header"), "is server.trusted_user_header; name another header")


def _operator_endpoints(
    config: Config, endpoints: Sequence[tuple[KeyPath, EndpointSection]], faulty: frozenset[KeyPath]
) -> Iterator[Problem]:
    for path, endpoint in endpoints:
        if endpoint.events == () and endpoint.name not in config.operator.endpoints:
            text = "is empty, so that the endpoint gets nothing; leave it out, or name the endpoint in"
            yield Problem((*path, "events"), f"{text} operator.endpoints")
    if any(path[0] == "endpoints" for path in faulty):
        return  # it may name one of those
    all_names, pushed = _names(endpoints)
    for number, name in enumerate(config.operator.endpoints):
        if name not in pushed:
            text = _not_pushed(name, all_names, pushed, "name an endpoint of the section endpoints")
            yield Problem(("operator", "endpoints", number), text)


def _fallbacks(endpoints: Sequence[tuple[KeyPath, EndpointSection]], faulty: frozenset[KeyPath]) -> Iterator[Problem]:
    if any(path[0] == "endpoints" for path in faulty):
        return  # a fallback may be one of those
    all_names, pushed = _names(endpoints)
    for path, endpoint in endpoints:
        if endpoint.fallback is None:
            continue
        if endpoint.fallback == endpoint.name:
            yield Problem((*path, "fallback"), "is this endpoint itself; name another endpoint")
        elif endpoint.fallback not in pushed:
            others = [name for name in pushed if name != endpoint.name]
            text = _not_pushed(endpoint.fallback, all_names, others, "name one of the section endpoints")
            yield Problem((*path, "fallback"), text)


def _names(endpoints: Sequence[tuple[KeyPath, EndpointSection]]) -> tuple[list[str], list[str]]:
    """The names of all endpoints, and of those to which something is sent."""
    pushed = [endpoint.name for _, endpoint in endpoints if endpoint.url.get_secret_value() != PULL_URL]
    return [endpoint.name for _, endpoint in endpoints], pushed


def _not_pushed(name: str, all_names: Sequence[str], choices: Sequence[str], without_choice: str) -> str:
    hint = did_you_mean_or_list(name, choices) if choices else f"; {without_choice}"
    return f'there is no endpoint "{name}"{" that is sent anything" if name in all_names else ""}{hint}'


def _same_names(named: Iterable[tuple[KeyPath, str]]) -> Iterator[Problem]:
    first_paths: dict[str, KeyPath] = {}
    for path, name in named:
        if name in first_paths:
            yield Problem(
                (*path, "name"), f"needs a name of its own; this one is that of {format_path(first_paths[name])}"
            )
        first_paths.setdefault(name, path)


def _same_keys(spaces: Iterable[tuple[KeyPath, Workspace]]) -> Iterator[Problem]:
    """One key has one budget at Exec: two workspaces that each spent a share of it would spend more than it allows."""
    first_paths: dict[tuple[str, str], KeyPath] = {}
    for path, space in spaces:
        key = (space.base_url.rstrip("/"), space.api_key.get_secret_value())
        if key in first_paths:
            text = (
                f"is the key of {format_path(first_paths[key])} too: Exec counts the requests of a key together, and "
                "two workspaces would each spend a share of the same; make it one workspace, or give this one a key of "
                "its own"
            )
            yield Problem((*path, "api_key"), text)
        first_paths.setdefault(key, path)


def _plaintext_exec_urls(urls: Iterable[tuple[KeyPath, str]]) -> Iterator[Problem]:
    for path, url in urls:
        parts = urlsplit(url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            text = "must be https, or the API key is sent unencrypted; to allow that, set security.allow_http"
            yield Problem((*path, "base_url"), text)


def _plaintext_endpoint_urls(urls: Iterable[tuple[KeyPath, str]]) -> Iterator[Problem]:
    for path, url in urls:
        if urlsplit(url).scheme == "http":
            yield Problem((*path, "url"), f"must be https, and is {mask_url(url)}; or set security.allow_http")
