"""`relay sandbox`: a stand-in for Exec, to try the relay without an account."""

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
from pydantic import ValidationError

from relay.cli.output import print_text
from relay.config import duration
from relay.model import SECOND
from relay.process import system_clock
from relay.sandbox import ExecSettings, FakeExec, JobProfile, serve
from relay.sandbox.exec_server import BASE, KEY, SANDBOX_KEY
from relay.sandbox.fault_injection import FaultConfig, FaultRule
from relay.sandbox.local_server import stop_signals
from relay.sandbox.rate_limits import UNLIMITED, Limits
from relay.sandbox.request_log import LoggedRequest

_FAULT = re.compile(r"(\w+)(?::([^=]+))?=(.+)")
"""`KIND=SHARE` or `KIND:WAIT=SHARE`."""


def _milliseconds(_context: click.Context, _option: click.Parameter, text: str) -> int:
    try:
        return duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _fault_rules(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> tuple[FaultRule, ...]:
    return tuple(_fault_rule(context, option, text) for text in texts)


def _fault_rule(context: click.Context, option: click.Parameter, text: str) -> FaultRule:
    match = _FAULT.fullmatch(text)
    if not match:
        raise click.BadParameter("write KIND=SHARE, such as 500=0.05, or KIND:WAIT=SHARE, such as slow:3s=0.1")
    kind, wait, share = match.groups()
    try:
        wait_ms = None if wait is None else _milliseconds(context, option, wait)
        return FaultRule.model_validate({"kind": kind, "wait": wait_ms, "share": share})
    except ValidationError as error:
        raise click.BadParameter(_message(error)) from None


def _key(_context: click.Context, _option: click.Parameter, keys: tuple[str, ...]) -> tuple[str, ...]:
    if not all(KEY.fullmatch(key) for key in keys):
        raise click.BadParameter(
            "a key is exec_live_ and 40 letters and digits; leave the option out for a default key"
        )
    return keys or (SANDBOX_KEY,)


_SHARE = click.FloatRange(0, 1)


@click.command("sandbox")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=4010, show_default=True, help="0: any free port.")
@click.option(
    "--key", "keys", multiple=True, callback=_key, help="An API key to accept; repeatable, one for each workspace."
)
@click.option(
    "--median",
    callback=_milliseconds,
    metavar="DURATION",
    default="40s",
    show_default=True,
    help="Median duration of the jobs.",
)
@click.option(
    "--sigma", type=click.FloatRange(0), default=0.35, show_default=True, help="Spread of the durations; 0: none."
)
@click.option(
    "--queued",
    callback=_milliseconds,
    metavar="DURATION",
    default="5s",
    show_default=True,
    help="Time in the queue before a job starts.",
)
@click.option("--fail", type=_SHARE, default=0.0, show_default=True, help="Share of jobs that fail.")
@click.option("--cancel", type=_SHARE, default=0.0, show_default=True, help="Share of jobs that are cancelled.")
@click.option("--stuck", type=_SHARE, default=0.0, show_default=True, help="Share of jobs that never end.")
@click.option(
    "--speed", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="10: ten times as fast."
)
@click.option("--seed", type=int, help="Repeat the same jobs with the same results.")
@click.option(
    "--no-limits", is_flag=True, help="Without Exec's limits (60 requests a minute, 1,000 a day, 10 new jobs a minute)."
)
@click.option(
    "--fault",
    "faults",
    callback=_fault_rules,
    multiple=True,
    metavar="KIND[:WAIT]=SHARE",
    help="A share of polls that fail; repeatable.",
)
@click.option(
    "--missing-first", type=click.IntRange(0), default=0, help="Number of first polls of each job that answer 404."
)
@click.option("--lost-callbacks", type=_SHARE, default=0.0, help="Share of Exec's own callbacks that are not sent.")
@click.option("--quiet", is_flag=True, help="Don't print each request.")
def command(
    host: str,
    port: int,
    keys: tuple[str, ...],
    faults: tuple[FaultRule, ...],
    missing_first: int,
    lost_callbacks: float,
    seed: int | None,
    no_limits: bool,
    quiet: bool,
    **profile: Any,
) -> None:
    """Run a stand-in for Exec: it answers as Exec documents, with jobs that take time, and with faults on demand.

    \b
    Examples:
      relay sandbox
      relay sandbox --median 5m --fail 0.1                    like Exec on a usual day
      relay sandbox --median 5m --speed 30                    the same, thirty times as fast
      relay sandbox --fault 500=0.05 --fault timeout:30s=0.01 --fault 429:20s=0.02
      relay sandbox --fault not_json=0.1 --missing-first 2 --seed 1
      RELAY_EXEC__BASE_URL=http://127.0.0.1:4010/rest/v1 relay serve

    \b
    While it runs:
      curl -s localhost:4010/sandbox/stats                    requests, and the end times of jobs
      curl -s localhost:4010/sandbox/faults -d '{"faults": [{"kind": "503", "lasts": 60000}]}'
      curl -s localhost:4010/sandbox/faults -d '{"jobs": {"JOB_ID": ["500", "not_json", "ok"]}}'

    --fault takes any status code from 400 to 599, and slow, timeout, closed, not_json, wrong_shape, other_job, huge,
    truncated, unknown_status. Ctrl-C stops it.
    """
    try:
        fault_config, job_profile = FaultConfig(faults=faults, missing_first=missing_first), JobProfile(**profile)
    except ValidationError as error:
        raise click.UsageError(_message(error)) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    settings = ExecSettings(
        keys=keys,
        profile=job_profile,
        limits=UNLIMITED if no_limits else Limits(),
        fault_config=fault_config,
        lost_callbacks=lost_callbacks,
        seed=seed,
        listener=None if quiet else _print_request,
    )
    logging.getLogger("uvicorn.error").addFilter(_log_filter)
    asyncio.run(_run(settings, host, port))


async def _run(settings: ExecSettings, host: str, port: int) -> None:
    with stop_signals() as stop:
        async with serve(FakeExec(settings, system_clock).app, host, port) as url:
            click.echo(_greeting(url, settings))
            await stop.wait()


def _greeting(url: str, settings: ExecSettings) -> str:
    keys = "\n".join(f"  {key}" for key in settings.keys)
    return f"""The stand-in for Exec answers at {url}{BASE}
with the API key
{keys}

Create a job:
  curl -s {url}{BASE}/scenario-studio/jobs \\
    -H 'Authorization: Bearer {settings.keys[0]}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"user_email": "jane@acme.com", "prompt": "A discovery call with a skeptical IT director"}}'

Poll it (with its id):
  curl -s {url}{BASE}/scenario-studio/jobs/JOB_ID -H 'Authorization: Bearer {settings.keys[0]}'

Ctrl-C stops it.
"""


def _log_filter(record: logging.LogRecord) -> bool:
    """Hides uvicorn's reports of connections that the sandbox cuts on purpose."""
    return "without completing response" not in record.getMessage()


def _print_request(request: LoggedRequest) -> None:
    at = datetime.fromtimestamp(request.at / SECOND).strftime("%H:%M:%S")
    status = "no answer" if request.status is None else request.status
    fault = f"(fault: {request.fault})" if request.fault else ""
    print_text(
        f"{at}  {request.call:6}  {request.job_id or '-':12}  {status}  {request.job_status or ''} {fault}".rstrip()
    )


def _message(error: ValidationError) -> str:
    fault: Mapping[str, Any] = error.errors(include_url=False, include_context=False)[0]
    if fault["loc"] == ("share",):
        return "the share is a number above 0 and at most 1, such as 0.05"
    return str(fault["msg"]).removeprefix("Value error, ")
