"""Links and digests in Markdown, for chats that read it."""

from collections.abc import Callable

from relay.formats.message_text import (
    MAX_LABEL,
    MAX_VALUE,
    OPEN_JOB,
    DigestLine,
    EventText,
    digest_within,
)
from relay.formats.truncate import utf16_length


def markdown_job_link(content: EventText) -> str | None:
    """A Markdown link to the job's page, in whose URL no bracket ends the link; None without a page."""
    return f"[{OPEN_JOB}]({_in_markdown(content.page)})" if content.page else None


def digest_markdown(content: EventText, escape: Callable[[str], str], limit: int) -> list[str]:
    """The lines of a digest with Markdown links, as many as fit into `limit` UTF-16 units, and how many more.

    `escape` is for texts of other people. A link that is too long for its line is left out.
    """

    def draw(line: DigestLine) -> str:
        text = escape(line.text)
        linked = f"[{text}]({_in_markdown(line.link)})" if line.link and len(line.link) <= MAX_VALUE else text
        return f"{line.mark} {linked}{escape(line.note)}"

    return digest_within(content, draw, limit - MAX_LABEL, lambda text: utf16_length(text) + 1)


def _in_markdown(url: str) -> str:
    return url.replace("(", "%28").replace(")", "%29")
