"""`relay demo`: shows the whole relay at work, with no account and no configuration."""

import asyncio
import logging
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from relay.cli.output import print_json, print_text, strip_control_chars
from relay.errors import RelayError
from relay.sandbox.demo import Demo, Row, Summary
from relay.web.app import create_app

_COLOURS = {"completed": "green", "failed": "red", "cancelled": "yellow", "processing": "cyan"}


@click.command("demo")
@click.option("--jobs", type=click.IntRange(1, 100), default=12, show_default=True, help="How many jobs.")
@click.option("--seed", type=int, help="Repeat the jobs of an earlier demo with this seed.")
@click.option("--json", "as_json", is_flag=True, help="End with the summary as one line of JSON.")
def command(jobs: int, seed: int | None, as_json: bool) -> None:
    """See the relay work: a stand-in for Exec, the relay and a verifying receiver, all on this machine.

    The demo creates and registers a dozen jobs of some seconds each, and delivers their results. Needs no account, no
    configuration and no network. The exit code is 0 if every job was notified and every signature verified.

    \b
    Examples:
      relay demo
      relay demo --jobs 40 --seed 7
      relay demo --json | tail -n 1
    """
    logging.disable(logging.CRITICAL)  # the table shows what happens
    try:
        with tempfile.TemporaryDirectory(prefix="relay-demo-") as folder:
            summary = asyncio.run(_run(jobs, seed, Path(folder), Console()))
    except TimeoutError:
        raise RelayError("the demo took longer than two minutes; is this machine very busy?") from None
    finally:
        logging.disable(logging.NOTSET)
    print_text(_summary_text(summary))
    if as_json:
        print_json({**asdict(summary), "ok": summary.ok}, indent=None)
    if not summary.ok:
        raise SystemExit(1)


async def _run(jobs: int, seed: int | None, folder: Path, console: Console) -> Summary:
    if not console.is_terminal:
        click.echo(f"creating {jobs} jobs at the stand-in for Exec, and registering them at the relay")
        return await Demo(create_app, jobs, seed, lambda row: print_text(_line(row))).run(folder)
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
    for title in ("job", "at Exec", "polls", "after", "signature"):
        table.add_column(title, justify="right" if title in ("polls", "after") else "left", no_wrap=True)
    table.add_column("message", overflow="ellipsis")
    for row in rows:
        delay = "" if row.delay is None else f"{row.delay / 1_000:.2f} s"
        status = Text(row.status, style=_COLOURS.get(row.status, "dim"))
        message = Text(strip_control_chars(row.headline), no_wrap=True, overflow="ellipsis")
        table.add_row(Text(row.job_id, style="dim"), status, str(row.polls), delay, _signature(row), message)
    return table


def _signature(row: Row) -> Text:
    if row.received_at is None:
        return Text("")
    return Text("✓ verified", style="green") if row.verified else Text(f"✗ {row.why}", style="red")


def _line(row: Row) -> str:
    delay = "" if row.delay is None else f" {row.delay / 1_000:.2f} s after it ended"
    signature = "signature verified" if row.verified else f"NOT VERIFIED: {row.why}"
    return f"job {row.job_id} {row.status}: {row.headline!r}, notified{delay}, {signature}"


def _summary_text(summary: Summary) -> str:
    polls = summary.polls / max(1, summary.jobs)
    delays = f"median {summary.delay_median} s, worst {summary.delay_worst} s"
    return (
        f"\n{summary.notified} of {summary.jobs} jobs notified, {summary.verified} signatures verified, "
        f"{summary.polls} polls of Exec ({polls:.1f} a job)\n"
        f"delay from Exec's completed_at to the receiver: {delays}\n"
    )
