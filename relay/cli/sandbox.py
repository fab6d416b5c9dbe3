"""`relay sandbox`: an Exec stand-in, to try the relay without an account."""

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
from pydantic import ValidationError

from relay.config import duration
from relay.model import SECOND
from relay.sandbox.exec_server import BASE, KEY, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.fault_injection import FaultConfig, FaultRule
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve, stop_signals
from relay.sandbox.rate_limits import UNLIMITED, Limits
from relay.sandbox.request_log import LoggedRequest
from relay.store.engine.clock import system_clock

_FAULT = re.compile(r"(\w+)(?::([^=]+))?=(.+)")
"""`KIND=SHARE` or `KIND:WAIT=SHARE`."""


def _milliseconds(_context: click.Context, _option: click.Parameter, text: str) -> int:
    try:
        return duration(text)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from None


def _fault_rules(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> tuple[FaultRule, ...]:
    return tuple(_trouble(context, option, text) for text in texts)


def _trouble(context: click.Context, option: click.Parameter, text: str) -> FaultRule:
    found = _FAULT.fullmatch(text)
    if not found:
        raise click.BadParameter("write KIND=SHARE, such as 500=0.05, or KIND:WAIT=SHARE, such as slow:3s=0.1")
    kind, wait, share = found.groups()
    try:
        lasts = None if wait is None else _milliseconds(context, option, wait)
        return FaultRule.model_validate({"kind": kind, "wait": lasts, "share": share})
    except ValidationError as wrong:
        raise click.BadParameter(_first(wrong)) from None


def _key(_context: click.Context, _option: click.Parameter, keys: tuple[str, ...]) -> tuple[str, ...]:
    if not all(KEY.fullmatch(key) for key in keys):
        raise click.BadParameter("a key is exec_live_ followed by 40 letters and digits; leave it out for a ready one")
    return keys or (SANDBOX_KEY,)


_SHARE = click.FloatRange(0, 1)


@click.command("sandbox")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=4010, show_default=True, help="0: any free one.")
@click.option("--key", "keys", multiple=True, callback=_key, help="An API key it accepts; repeatable, one a workspace.")
@click.option(
    "--median",
    callback=_milliseconds,
    metavar="DURATION",
    default="40s",
    show_default=True,
    help="How long jobs take, half of them less.",
)
@click.option(
    "--sigma", type=click.FloatRange(0), default=0.35, show_default=True, help="How far they vary; 0: not at all."
)
@click.option(
    "--queued",
    callback=_milliseconds,
    metavar="DURATION",
    default="5s",
    show_default=True,
    help="How long jobs wait before they start.",
)
@click.option("--fail", type=_SHARE, default=0.0, show_default=True, help="Share of jobs that fail.")
@click.option("--cancel", type=_SHARE, default=0.0, show_default=True, help="Share of jobs that are cancelled.")
@click.option("--stuck", type=_SHARE, default=0.0, show_default=True, help="Share of jobs that never end.")
@click.option(
    "--speed", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="10: ten times as fast."
)
@click.option("--seed", type=int, help="The same jobs with the same fates, every time.")
@click.option(
    "--no-limits", is_flag=True, help="Without Exec's limits (60 requests a minute, 1,000 a day, 10 new jobs a minute)."
)
@click.option(
    "--fault",
    "faults",
    callback=_fault_rules,
    multiple=True,
    metavar="KIND[:WAIT]=SHARE",
    help="A share of polls that go wrong; repeatable.",
)
@click.option(
    "--missing-first", type=click.IntRange(0), default=0, help="Answer a job's first polls with 404, so many of them."
)
@click.option("--lost-callbacks", type=_SHARE, default=0.0, help="Share of Exec's own callbacks that never come.")
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
    **law: Any,
) -> None:
    """Run an Exec stand-in: it answers as Exec's pages say, with jobs that take their time, and with faults on demand.

    \b
    Examples:
      relay sandbox
      relay sandbox --median 5m --fail 0.1                    as Exec is, on a usual day
      relay sandbox --median 5m --speed 30                    the same, a job every ten seconds
      relay sandbox --fault 500=0.05 --fault timeout:30s=0.01 --fault 429:20s=0.02
      relay sandbox --fault not_json=0.1 --missing-first 2 --seed 1
      RELAY_EXEC__BASE_URL=http://127.0.0.1:4010/rest/v1 relay serve

    \b
    While it runs:
      curl -s localhost:4010/sandbox/stats                    what it was asked, and when jobs ended
      curl -s localhost:4010/sandbox/faults -d '{"faults": [{"kind": "503", "lasts": 60000}]}'
      curl -s localhost:4010/sandbox/faults -d '{"jobs": {"JOB_ID": ["500", "not_json", "ok"]}}'

    --fault takes any status code from 400 to 599, and slow, timeout, closed, not_json, wrong_shape, other_job, huge,
    truncated, unknown_status. Ctrl-C stops it.
    """
    try:
        orders, drawn = FaultConfig(faults=faults, missing_first=missing_first), JobProfile(**law)
    except ValidationError as wrong:
        raise click.UsageError(_first(wrong)) from None
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None
    settings = ExecSettings(
        keys=keys,
        profile=drawn,
        limits=UNLIMITED if no_limits else Limits(),
        fault_config=orders,
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
    return f"""An Exec stand-in answers at {url}{BASE}
with the API key
{keys}

Make a job:
  curl -s {url}{BASE}/scenario-studio/jobs \\
    -H 'Authorization: Bearer {settings.keys[0]}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"user_email": "jane@acme.com", "prompt": "A discovery call with a skeptical IT director"}}'

Poll it (with its id):
  curl -s {url}{BASE}/scenario-studio/jobs/JOB_ID -H 'Authorization: Bearer {settings.keys[0]}'

Ctrl-C stops it.
"""


def _log_filter(record: logging.LogRecord) -> bool:
    """uvicorn reports connections that are cut on purpose, too."""
    return "without completing response" not in record.getMessage()


def _print_request(asked: LoggedRequest) -> None:
    at = datetime.fromtimestamp(asked.at / SECOND).strftime("%H:%M:%S")
    status = "no answer" if asked.status is None else asked.status
    fault = f"(fault: {asked.fault})" if asked.fault else ""
    click.echo(f"{at}  {asked.call:6}  {asked.job_id or '-':12}  {status}  {asked.job_status or ''} {fault}".rstrip())


def _first(wrong: ValidationError) -> str:
    fault: Mapping[str, Any] = wrong.errors(include_url=False, include_context=False)[0]
    if fault["loc"] == ("share",):
        return "the share is a number above 0 and at most 1, such as 0.05"
    return str(fault["msg"]).removeprefix("Value error, ")
