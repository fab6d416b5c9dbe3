"""Generates the reference from the code each time the site is built, so that it is never out of date."""

from pathlib import Path

from docs.generating import api, commands, configuration, events, library, metrics

PAGES = {
    "configuration.md": configuration.page,
    "api.md": api.page,
    "commands.md": commands.page,
    "events.md": events.page,
    "metrics.md": metrics.page,
    "verify.md": library.page,
}


def write_reference(folder: Path) -> None:
    """Writes every page into `folder`. An unchanged page is not written, so that Sphinx does not read it again."""
    folder.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        path, text = folder / name, make()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
