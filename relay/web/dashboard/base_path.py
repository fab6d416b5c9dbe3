"""Links below the path of `server.public_url`, so that the dashboard also works behind a proxy at `/relay`."""

from urllib.parse import urlsplit

from relay.config import Config


def base_path(config: Config) -> str:
    """The path of `server.public_url`, without the last slash: `/relay` or ""."""
    return urlsplit(config.server.public_url or "").path.rstrip("/")


def path_for(base: str, path: str) -> str:
    """A path of the relay as links, forms, redirects and scripts use it: below the base path."""
    return base + path
