"""The reference: pages made of the code each time the site is built, so that they can't be out of date."""

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
    """Writes every page into `folder`; one that has not changed is left alone, and so not read again by Sphinx."""
    folder.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        path, text = folder / name, make()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
