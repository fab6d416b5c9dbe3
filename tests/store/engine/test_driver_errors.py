"""Errors of the databases are explained: what is wrong and what to do, without the driver's names or a password."""

import psycopg
import pytest
from sqlalchemy.engine import make_url

from relay.errors import StoreError
from relay.store.engine.database import Store
from relay.store.engine.driver_errors import explain

_AT = 'connection failed: connection to server at "10.0.0.5", port 5432 failed: '


class DriverError(Exception):
    """An error as psycopg raises it."""

    sqlstate: str | None = None


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (f'{_AT}FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "relay", no encryption', "add sslmode=require"),
        (f"{_AT}FATAL:  SSL connection is required. Please specify SSL options and retry.", "add sslmode=require"),
        (
            f'{_AT}FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "relay", SSL encryption',
            "no pg_hba.conf entry",
        ),
        (f"{_AT}FATAL:  the database system is starting up", "the database system is starting up"),
        (f"{_AT}FATAL:  no such user: relay", "no such user: relay"),
        (f"{_AT}FATAL:  server login has been failing, try again later", "server login has been failing"),
        (f"{_AT}FATAL:  query_wait_timeout", "query_wait_timeout"),
        (f"{_AT}timeout expired", "can't be reached: timeout expired"),
        ("consuming input failed: SSL SYSCALL error: EOF detected", "can't be reached"),
        ('prepared statement "_pg3_0" already exists', "pool_mode = session"),
        ('prepared statement "_pg3_0" does not exist', "pool_mode = session"),
        ("permission denied for table events", "make it their owner"),
        ('relation "events" does not exist', "restart the relay, which creates them"),
        ("no such table: events", "restart the relay, which creates them"),
        ("canceling statement due to statement timeout", "statement_timeout"),
        ("transaction blocks not allowed in statement pooling mode", "pool_mode = session"),
        ('invalid port number: "99999"', "the port is not a number"),
        ('invalid percent-encoded token: "p%@h"', "is written %25"),
        ('invalid integer value "x" for connection option "connect_timeout"', "the value of connect_timeout"),
    ],
)
def test_a_driver_s_error_says_what_is_wrong(text: str, meaning: str) -> None:
    """libpq's, PgBouncer's and SQLite's own words lead to what the operator can do."""
    assert meaning in explain(DriverError(text))


def test_an_error_that_nothing_explains_has_its_sqlstate() -> None:
    """It can be looked up; the driver's text may hold values and is left out."""
    error = DriverError("value secret is out of range")
    error.sqlstate = "22003"
    assert explain(error) == "the store failed: DriverError (22003)"


async def test_a_user_that_may_create_no_tables_is_told_the_grant(blank_postgres_url: str) -> None:
    """PostgreSQL 15 and later let only the owner of a database create tables in it."""
    with psycopg.connect(blank_postgres_url, autocommit=True) as admin:
        admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        admin.execute("DROP ROLE IF EXISTS visitor")
        admin.execute("CREATE ROLE visitor LOGIN PASSWORD 'hidden'")
    url = make_url(blank_postgres_url).set(username="visitor", password="hidden")
    with pytest.raises(StoreError, match="GRANT CREATE ON SCHEMA public") as error:
        await Store.open(url.render_as_string(hide_password=False))
    assert "hidden" not in str(error.value)
