"""Environment variables: values, secrets in files (`NAME_FILE`), and names that the relay does not know."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from relay.suggestions import did_you_mean

MAX_BYTES = 1024 * 1024
"""Largest configuration file, and largest file of a variable."""

CLIENT_VARIABLES = frozenset({"RELAY_CONFIG", "RELAY_URL", "RELAY_API_KEY", "RELAY_CALLBACK_URL"})
"""Variables of the commands. They set no key of the configuration."""

FILE = "_FILE"
_SERVICE_LINK = re.compile(
    r"RELAY_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://\S*")


def read_variable(name: str, environ: Mapping[str, str]) -> str | None:
    """The value of NAME, or the text of the file that NAME_FILE names; None if neither is set.

    Raises ValueError if both are set or the file can't be read. Its text never holds a value.
    """
    file = environ.get(name + FILE)
    if not file:
        return environ.get(name)
    if environ.get(name):
        raise ValueError(f"set {name} or {name}{FILE}, not both")
    return read_file(file)


def read_file(name: str) -> str:
    """The text of a file that holds one value, without the line break at its end. Raises ValueError."""
    try:
        with Path(name).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"its file can't be read: {getattr(error, 'strerror', None) or 'no such file'}") from None
    if len(content) > MAX_BYTES:
        raise ValueError("its file is larger than 1 MiB")
    try:
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("its file is not UTF-8 text") from None
    if not text:
        raise ValueError("its file is empty")
    return text


def unknown_variable(name: str, value: str, variables: Iterable[str]) -> str | None:
    """Why the configuration can't be used with this variable; None if it may be set.

    Refused are names with `__`, and names of a key with one underscore for two or with small letters. Kubernetes may
    set the same name for a service (`RELAY_SERVER_PORT=tcp://10.0.0.1:8080`): those are not refused.
    """
    keys = set(variables)
    if name != name.upper() and name.upper().removesuffix(FILE) in keys:
        return f'there is no such key; did you mean "{name.upper()}"?'
    if not name.startswith("RELAY_") or _is_service_link(name, value):
        return None
    if "__" not in name:
        by_single = {key.replace("__", "_"): key for key in keys if "__" in key}
        similar_key = by_single.get(name.removesuffix(FILE))
        ending = FILE if name.endswith(FILE) else ""
        return f'there is no such key; did you mean "{similar_key}{ending}"?' if similar_key else None
    list_key = next((key for key in keys if "__" not in key and name.startswith(f"{key}__")), None)
    if list_key:
        return f"there is no such key; set the whole list: {list_key}='[...]'"
    return f"there is no such key{did_you_mean(name.upper(), keys) or '; config.example.yaml shows every key'}"


def unused_variables(environ: Mapping[str, str], variables: Iterable[str]) -> Iterator[str]:
    """A warning for each variable that sets nothing though its name is close to a key's, and a single one for all
    those of Kubernetes."""
    keys = set(variables)
    names = {name for name in environ if name.startswith("RELAY_") and "__" not in name}
    links = sorted(name for name in names if _is_service_link(name, environ[name]))
    if links:
        suffix = f" and {len(links) - 1} more" if len(links) > 1 else ""
        yield (
            f"{links[0]}{suffix}: set by Kubernetes for a service, and not used; "
            "enableServiceLinks: false in the pod leaves them out"
        )
    valid_names = keys | CLIENT_VARIABLES
    for name in sorted(names - set(links)):
        if name.removesuffix(FILE) not in valid_names:
            yield f"{name}: not a variable of the relay, and not used{_nearest(name, keys)}"
    for name in sorted(environ):
        if suggestion := _without_prefix(name, keys):
            yield f'{name}: not a variable of the relay, and not used; did you mean "{suggestion}"?'


def _is_service_link(name: str, value: str) -> bool:
    is_url = name.endswith("_PORT") and _SERVICE_URL.fullmatch(value) is not None
    return is_url or _SERVICE_LINK.fullmatch(name) is not None


def _without_prefix(name: str, keys: set[str]) -> str | None:
    """The key that `EXEC__API_KEY` or `EXEC_BASE_URL` means: people take `EXEC_API_KEY` for one of many."""
    if name.removesuffix(FILE) == "EXEC_API_KEY":
        return None
    if "__" in name and f"RELAY_{name}" in keys:
        return f"RELAY_{name}"
    by_single = {key.replace("__", "_"): key for key in keys if key.startswith("RELAY_EXEC__")}
    return by_single.get(f"RELAY_{name}")


_OTHER_NAMES = {
    "DATABASE_URL": "RELAY_STORAGE__URL",
    "DB_URL": "RELAY_STORAGE__URL",
    "HOST": "RELAY_SERVER__HOST",
    "LOG_LEVEL": "RELAY_LOGGING__LEVEL",
    "PORT": "RELAY_SERVER__PORT",
}
"""Names that other programs use for a key, if its own name is not similar, or if there are several."""


def _nearest(name: str, keys: set[str]) -> str:
    bare_name = name.removeprefix("RELAY_")
    candidates = (
        [_OTHER_NAMES[bare_name]]
        if bare_name in _OTHER_NAMES
        else sorted(key for key in keys if key.endswith(f"__{bare_name}"))
    )
    return f'; did you mean "{candidates[0]}"?' if candidates else did_you_mean(name, keys)
