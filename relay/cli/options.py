"""The `--config` option, and the configuration that it names; several options in one."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import click

from relay import config
from relay.config import Config
from relay.errors import ConfigError
from relay.model import JOB_ID, Actor, Via

DEFAULT = Path("config.yaml")


def config_option(command: click.decorators.FC) -> click.decorators.FC:
    """`--config`; the command gets it as `path`."""
    return click.option(
        "--config",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="RELAY_CONFIG",
        help="The configuration file; by default ./config.yaml if it exists. The environment can set every key too: "
        "RELAY_SECTION__KEY.",
    )(command)


Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def combine_options(*options: Decorator) -> Decorator:
    """One decorator for several options, in their order in the help."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def id_argument(name: str, *, required: bool = True) -> Decorator:
    """The argument `name`, an id that a command puts into a path of the API: a URL or a path is refused as such."""
    return click.argument(name, required=required, callback=_check_id)


def _check_id(_context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    if not JOB_ID.fullmatch(text.strip()):
        raise click.UsageError(f"{(parameter.name or '').upper()} is an id: 1 to 128 letters, digits, - or _")
    return text.strip()


def read_config(path: Path | None) -> Config:
    """The configuration of `--config`, of ./config.yaml, or of the environment alone. Raises ConfigError."""
    if path is None and DEFAULT.exists():
        path = DEFAULT
    if path is not None and str(path) != str(path).strip(" \t\r\n\"'"):
        raise ConfigError(
            f"--config or RELAY_CONFIG: {str(path)!r} begins or ends with a quote, a space or a line break"
        )
    return config.load(path, os.environ)


def command_actor() -> Actor:
    """Who runs this command, for the audit log: the user of the operating system, by name or number."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers may run as a user without a name
        user = f"uid {os.getuid()}"
    return Actor(via=Via.COMMAND, user=user)


UNENCRYPTED_WARNING = (
    "anybody with the store or a backup of it can read callback URLs, which are passwords to chat services, and "
    "signing secrets; make a key with `relay keygen --secret`"
)
"""The risk without `security.secret_key`."""
PUBLIC_WITHOUT_KEYS = (
    "server.host is open to others, and there is no API key: security.api_keys is empty, and the store has none; "
    "make one with `relay keys create`, or listen on 127.0.0.1"
)
"""Why the relay does not start."""
PUBLIC_URL_WITHOUT_KEYS = (
    "server.public_url is set, and there is no API key: anybody who reaches that address could use the relay; "
    "make a key with `relay keys create`, or leave server.public_url out"
)
"""Why the relay does not start."""
