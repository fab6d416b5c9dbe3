"""`relay demo`: see the whole relay work, with no account and no configuration."""

import asyncio
import json
import logging
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from relay.errors import RelayError
from relay.sandbox.demo import Demo, Row, Summary
from relay.web.app import create_app

_COLOURS = {"completed": "green", "failed": "red", "cancelled": "yellow", "processing": "cyan"}


@click.command("demo")
@click.option("--jobs", type=click.IntRange(1, 100), default=12, show_default=True, help="How many jobs.")
@click.option("--seed", type=int, help="Draw the same jobs as an earlier demo with this seed.")
@click.option("--json", "as_json", is_flag=True, help="End with the summary as one line of JSON.")
def command(jobs: int, seed: int | None, as_json: bool) -> None:
    """See the relay work: Exec's stand-in, the relay and a receiver that verifies, all on this machine.

    A dozen scenario jobs of some seconds each are created, registered, watched, and their ends delivered. Needs no
    account, no configuration and no network. Exit code 0 only if every job was told and every signature verified.

    \b
    Examples:
      relay demo
      relay demo --jobs 40 --seed 7
      relay demo --json | tail -n 1
    """
    logging.disable(logging.CRITICAL)  # the table is the story here
    try:
        with tempfile.TemporaryDirectory(prefix="relay-demo-") as folder:
            summary = asyncio.run(_run(jobs, seed, Path(folder), Console()))
    except TimeoutError:
        raise RelayError("the demo took longer than two minutes; is this machine very busy?") from None
    finally:
        logging.disable(logging.NOTSET)
    click.echo(_summary_text(summary))
    if as_json:
        click.echo(json.dumps({**asdict(summary), "ok": summary.ok}))
    if not summary.ok:
        raise SystemExit(1)


async def _run(jobs: int, seed: int | None, folder: Path, console: Console) -> Summary:
    if not console.is_terminal:
        click.echo(f"creating {jobs} jobs at the stand-in for Exec, and registering them at the relay")
        return await Demo(create_app, jobs, seed, lambda row: click.echo(_line(row))).run(folder)
    demo = Demo(create_app, jobs, seed)
    with Live(console=console, auto_refresh=False) as live:
        running = asyncio.create_task(demo.run(folder))
        while not running.done():
            live.update(_table(demo.rows), refresh=True)
            await asyncio.wait([running], timeout=0.1)
        live.update(_table(demo.rows), refresh=True)
    return await running


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("job", "at Exec", "polls", "told after", "signature", "what subscribers read"):
        table.add_column(title, justify="right" if title in ("polls", "told after") else "left", no_wrap=True)
    for row in rows:
        colour = _COLOURS.get(row.status, "dim")
        delay = "" if row.delay is None else f"{row.delay / 1_000:.2f} s"
        signature = (
            "" if row.received_at is None else "[green]✓ verified[/]" if row.verified else f"[red]✗ {row.why}[/]"
        )
        status = f"[{colour}]{row.status}[/]"
        table.add_row(f"[dim]{row.job_id}[/]", status, str(row.polls), delay, signature, _plain(row.headline))
    return table


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _line(row: Row) -> str:
    delay = "" if row.delay is None else f" {row.delay / 1_000:.2f} s after it ended"
    signature = "signature verified" if row.verified else f"NOT VERIFIED: {row.why}"
    return f"job {row.job_id} {row.status}: {row.headline!r}, told{delay}, {signature}"


def _summary_text(summary: Summary) -> str:
    return (
        f"\n{summary.notified} of {summary.jobs} jobs told, {summary.verified} signatures verified, "
        f"{summary.polls} polls Exec ({summary.polls / max(1, summary.jobs):.1f} a job)\n"
        f"from Exec's completed_at to the receiver: median {summary.delay_median} s, worst {summary.delay_worst} s\n"
    )
