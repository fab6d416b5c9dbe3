"""The options of `relay endpoints add` and `edit` for the fields of an endpoint."""

import json
from collections.abc import Callable
from typing import Any

import click

from relay.cli.api_client import drop_none, from_file
from relay.cli.options import Decorator, combine_options
from relay.config import parsers


def file_option(option: str, name: str, check: Callable[[str], Any], help: str) -> Decorator:
    """An option that names a file; the command gets the file's text, checked."""
    return click.option(option, name, callback=from_file(check), type=click.Path(dir_okay=False), help=help)


def request_fields(
    url: str | None, url_file: str | None, headers: dict[str, str], header_file: dict[str, str] | None, **fields: Any
) -> dict[str, Any]:
    """The fields of the request that the options ask for. Raises UsageError for two URLs."""
    if url is not None and url_file is not None:
        raise click.UsageError("give the URL or --url-file, not both")
    url = url_file if url is None else url.strip()
    return drop_none(url=url, headers={**headers, **(header_file or {})} or None, **fields)


def _header_option(_context: click.Context, option: click.Parameter, lines: tuple[str, ...]) -> dict[str, str]:
    try:
        return _headers("\n".join(lines))
    except ValueError as error:
        raise click.UsageError(f"{option.opts[0]}: {error}") from None


def _headers(text: str) -> dict[str, str]:
    """The headers of lines `NAME: VALUE`. Raises ValueError, without the line, which may be a secret."""
    lines = text.splitlines()
    if any(":" not in line for line in lines):
        raise ValueError("a header is written NAME: VALUE, one on each line")
    pairs = (line.split(":", 1) for line in lines)
    return {name.strip(): value.strip() for name, value in pairs}


def _template(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its file is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ValueError("its file holds no JSON object")
    return body


field_options = combine_options(
    click.option("--name", help="A name of lower-case letters, digits, - or _."),
    file_option("--url-file", "url_file", parsers.text, "A file with the URL: it stays out of the shell's history."),
    click.option("--format", help="The format of the body; by default chosen by the URL's host."),
    click.option("--event", "events", multiple=True, help="Only this event, such as job.completed; repeatable."),
    click.option(
        "--header",
        "headers",
        multiple=True,
        callback=_header_option,
        help="'NAME: VALUE', sent with every notification; repeatable.",
    ),
    file_option("--header-file", "header_file", _headers, "A file with such headers, one on each line."),
    file_option("--template-file", "template", _template, "A file with the body to send, as JSON with placeholders."),
    click.option("--quiet", help="When news of success wait, such as '22:00-07:00 Europe/Berlin'."),
    click.option("--digest", help="How long news of success are gathered into one message, such as 5m."),
    click.option("--fallback", help="The name of another endpoint, for what finally fails at this one."),
)
"""The fields that both commands can set."""
