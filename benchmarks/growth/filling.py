"""Stores of any size, filled by the database itself: ended jobs with all that belongs to them, and jobs that wait."""

from collections.abc import Iterator

from sqlalchemy import Engine, Table, text

from relay.model import DAY, MINUTE, Endpoint, EndpointKind, EventType, Instant, Secret
from relay.security import FieldCipher
from relay.store import Store
from relay.store.engine import dialect
from relay.store.engine.schema import attempts, deliveries, events, polls, registrations, watches
from relay.store.tables import endpoints as subscribers

SECRET = "whsec_" + "c2VjcmV0" * 5 + "c2Vj"
EACH = 10
"""Deliveries of an ended job, each with an attempt."""
STANDING = 10
MONTH = 30 * DAY
_FILLED = (watches, registrations, events, polls, deliveries, attempts)
_TOGETHER = 100_000
_BODY = b'{"type": "job.completed", "timestamp": "2026-01-01T00:00:00Z", "data": {"job": {}}}' * 5
_JOB = '{"id": "x", "status": "completed", "created_at": "2026-01-01T00:00:00Z", "scenario": {"name": "Discovery"}}'

_JOBS = "WITH RECURSIVE n(i) AS (SELECT CAST(:first AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < :last),"
_LIVES = """ j AS (SELECT i, CAST(1000000000 + i AS TEXT) AS id, :now - (:jobs - i) * :month / :jobs AS at FROM n)"""
_SENT = """, k(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM k WHERE k < :each - 1),
 d AS (SELECT j.*, CAST(10000000000 + i * :each + k AS TEXT) AS sent, (i * :each + k) * 7919 % :owners AS owner,
  CASE WHEN (i * :each + k) % 100 = 0 THEN 'failed' ELSE 'delivered' END AS status FROM j CROSS JOIN k)"""
# As with a real event id, which is a digest, neighbours in time are none in the index.
_FACT = "'evt_' || CAST(10000000000 + i * 2654435761 % 4294967296 AS TEXT)"

_ENDED = {
    watches: (
        "workspace, job_id, state, created_at, job, polls, last_poll_at, next_poll_reason, ended_at, leased",
        f"SELECT 'default', 'job' || id, 'settled', at - {5 * MINUTE}, :job, 3, at, '', at, false FROM j",
    ),
    registrations: (
        "id, workspace, job_id, endpoint_id, status, events, metadata, created_at",
        """SELECT 'reg_' || id, 'default', 'job' || id, 'ep_' || CAST(1000000000 + i % :owners AS TEXT), 'settled',
            '["job.completed"]', '{}', at FROM j""",
    ),
    events: (
        "id, workspace, job_id, type, occurred_at, job, created_at",
        f"SELECT {_FACT}, 'default', 'job' || id, 'job.completed', at - 1000, :job, at FROM j",
    ),
    polls: (
        "workspace, job_id, at, duration_ms, outcome, detail",
        "SELECT 'default', 'job' || id, at, 80, 'ended', 'completed' FROM j",
    ),
    deliveries: (
        "id, event_id, event_type, workspace, job_id, endpoint_id, host, status, body, attempts, attempts_in_run, "
        "trigger, created_at, ended_at",
        f"""SELECT 'dlv_' || sent, {_FACT}, 'job.completed', 'default', 'job' || id,
            'ep_' || CAST(1000000000 + owner AS TEXT), 'example.com:443', status, :body, 1, 1, 'schedule', at, at + 900
            FROM d""",
    ),
    attempts: (
        "id, delivery_id, number, trigger, started_at, duration_ms, status_code, outcome, response",
        "SELECT 'att_' || sent, 'dlv_' || sent, 1, 'schedule', at, 90, 200, status, 'ok' FROM d",
    ),
}
"""By table: the columns, and their values."""

_WAITING = f"""INSERT INTO watches (workspace, job_id, state, created_at, job, polls, last_poll_at, next_poll_at,
 next_poll_reason, leased) {_JOBS}{_LIVES}
 SELECT 'default', 'j' || substr(CAST(10000000 + i AS TEXT), 2), 'active', :now - {MINUTE}, :job, 1, :now - {MINUTE},
  :now + {DAY} + i * 60 % {DAY}, '', false FROM j"""

_AD_HOC = f"""INSERT INTO endpoints (id, kind, fingerprint, url, host, format, events, secrets, headers,
 created_at, source) {_JOBS.rstrip(",")}
 SELECT 'ep_' || CAST(1000000000 + i AS TEXT), 'ad_hoc', 'ep_' || CAST(1000000000 + i AS TEXT), url, host, format,
  events, secrets, headers, created_at + i, source FROM n, endpoints WHERE id = 'ep_1000000001'"""


def fill(engine: Engine, jobs: int, each: int, now: Instant) -> None:
    """`jobs` jobs that ended in the last month, `each` deliveries of each; as many that are still watched (1,000 at
    least), named as those of `benchmarks.tick`.

    A tenth of the jobs brought a new URL; ten endpoints hear of every job. Indexes are made again afterwards, which is
    quicker than keeping them.
    """
    owners = max(jobs // 10, 2 * STANDING)
    with engine.begin() as tx:
        for number in range(STANDING):
            subscribers.add(tx, _subscriber(number, now))
        for table in _FILLED:
            for index in table.indexes:
                index.drop(tx)
    values = {"now": now, "jobs": jobs, "month": MONTH, "each": each, "owners": owners, "job": _JOB, "body": _BODY}
    for table in _ENDED:
        for first, last in _parts(jobs, each if table in (deliveries, attempts) else 1):
            _run(engine, _insert(table), {**values, "first": first, "last": last})
    _run(engine, _WAITING, {**values, "first": 0, "last": max(1_000, jobs)})
    _run(engine, _AD_HOC, {"first": STANDING, "last": owners - 1})
    for table in _FILLED:
        # A migration makes indexes by name. SQLite takes the later one of two that cost alike.
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            with engine.begin() as tx:
                index.create(tx)
    if not dialect.is_sqlite(engine.url):  # what autovacuum would have done by now
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


async def filled(url: str, jobs: int, each: int, now: Instant) -> None:
    """Makes a store at `url` that no other program uses, and fills it."""
    await (await Store.open(url)).aclose()
    engine = dialect.engine(dialect.parse(url), writer=True, connections=1, relay_cipher=FieldCipher())
    fill(engine, jobs, each, now)
    engine.dispose()


def _insert(table: Table) -> str:
    columns, values = _ENDED[table]
    return f"INSERT INTO {table.name} ({columns}) {_JOBS}{_LIVES}{_SENT if ' d' in values[-5:] else ''} {values}"


def _parts(jobs: int, each: int) -> Iterator[tuple[int, int]]:
    step = max(1, _TOGETHER // each)
    yield from ((first, min(first + step - 1, jobs)) for first in range(1, jobs + 1, step))


def _run(engine: Engine, statement: str, values: dict[str, object]) -> None:
    clause = text(statement)
    wanted = set(clause._bindparams)
    with engine.begin() as tx:
        tx.execute(clause, {name: value for name, value in values.items() if name in wanted})


def _subscriber(number: int, now: Instant) -> Endpoint:
    return Endpoint(
        id=f"ep_{1_000_000_000 + number}",
        kind=EndpointKind.STANDING,
        name=f"receiver{number}",
        url=f"https://example.com/{number}",
        host="example.com:443",
        format="standard",
        events=(EventType.COMPLETED,),
        secrets=(Secret(SECRET),),
        headers={},
        created_at=now - MONTH + number,
    )
