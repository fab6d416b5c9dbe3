"""The configuration, as every verb that reads it is told where it is."""

import os
from pathlib import Path

import click

from relay import config
from relay.config import Config

DEFAULT = Path("config.yaml")


def config_option(command: click.decorators.FC) -> click.decorators.FC:
    """`--config`; the verb gets it as `path`."""
    return click.option(
        "--config",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="RELAY_CONFIG",
        help="The configuration; ./config.yaml where there is one. Every key can also be set in the environment, "
        "as RELAY_SECTION__KEY.",
    )(command)


def read_config(path: Path | None) -> Config:
    """The configuration of `--config`, of ./config.yaml, or of the environment alone. Raises ConfigError."""
    if path is None and DEFAULT.exists():
        path = DEFAULT
    return config.load(path, os.environ)


UNENCRYPTED_WARNING = (
    "whoever gets at the store or a backup of it can read callback URLs, which are passwords to chat services, and "
    "signing secrets; make a key with `relay keygen --secret`"
)
"""What is at stake without `security.secret_key`."""
PUBLIC_WITHOUT_KEYS = (
    "server.host is open to others, and there is no API key: security.api_keys is empty, and the store has none; "
    "make one with `relay keys create`, or listen to 127.0.0.1"
)
"""Why a relay does not start so."""
