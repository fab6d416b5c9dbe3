"""`relay wait`: waits until a job has ended, and prints its scenario's URL."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console

from relay.cli.api_client import Client, client_options
from relay.cli.options import id_argument
from relay.cli.output import print_json, print_text, strip_control_chars
from relay.client import ApiError, Job, Relay
from relay.config import parsers
from relay.errors import RelayError
from relay.model import SECOND

TIMED_OUT = 3
"""The exit code if the job has not ended in time."""


def _duration(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else parsers.duration(text) / SECOND
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("wait")
@id_argument("job_id")
@click.option("--register", "registers", is_flag=True, help="Register the job first.")
@click.option("--timeout", callback=_duration, help="Wait no longer than this, such as 30m; by default for ever.")
@click.option("--workspace", help="The Exec workspace, if the relay has several.")
@client_options
def command(client: Client, job_id: str, registers: bool, timeout: float | None, workspace: str | None) -> None:
    """Wait until JOB_ID has ended, then print its scenario's URL. Waiting costs no request to Exec.

    \b
    Examples:
      relay wait j1o2b3i4d5x6
      relay wait j1o2b3i4d5x6 --register --timeout 30m
      relay wait j1o2b3i4d5x6 --json

    Exit codes: 0 the job completed, 1 it failed, was cancelled or given up, 2 wrong usage, 3 it has not ended in time.
    A relay that restarts meanwhile is asked again.
    """
    client.refuse_other_servers()
    job = _wait(client, job_id, registers, timeout, workspace)
    if client.as_json and job is not None:
        print_json(job.raw)
    if job is None or not job.ended:
        print_text(f"relay: job {job_id} has not ended in time; it goes on, and so does the relay", err=True)
        sys.exit(TIMED_OUT)
    if not job.completed:
        print_text(f"relay: job {job_id}: {_description(job)}", err=True)
        sys.exit(1)
    if not client.as_json:
        print_text(job.scenario_url or f"job {job_id} completed; Exec gave no URL")


def _wait(client: Client, job_id: str, registers: bool, timeout: float | None, workspace: str | None) -> Job | None:
    job: Job | None = None
    with Relay(client.server, client.key) as relay, _live_line(job_id) as show:
        if registers:
            relay.register(job_id, workspace=workspace)
        try:
            for job in relay.updates(job_id, timeout=timeout, workspace=workspace):
                show(job)
        except ApiError as error:
            hint = "; `relay wait --register` does both" if error.code == "job_not_found" else ""
            hint = hint or ("; give a key with --key or RELAY_API_KEY" if error.status == 401 else "")
            raise RelayError(f"{error.message}{hint}") from None
    return job


def _description(job: Job) -> str:
    """What became of a job that did not complete."""
    if job.state == "settled":
        return f"{job.status}{f': {job.error}' if job.error else ''}"
    descriptions = {
        "not_found": "Exec does not know it",
        "expired": "it has not ended within polling.max_age, and is polled no more",
        "withdrawn": "it is polled no more, as nothing waits for it; register it again with --register",
    }
    return descriptions.get(job.state, job.state)


@contextmanager
def _live_line(job_id: str) -> Iterator[Callable[[Job], None]]:
    """A line that says what the job is doing; on a terminal only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(f"job {strip_control_chars(job_id)}: asking the relay") as status:

        def show(job: Job) -> None:
            status_text = strip_control_chars(job.status or "not polled yet")
            status.update(f"job {strip_control_chars(job.job_id)}: {status_text}, {job.raw.get('polls', 0)} polls")

        yield show
