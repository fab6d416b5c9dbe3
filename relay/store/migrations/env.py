"""Alembic's entry: runs inside the connection and transaction that `migrate.upgrade` opened."""

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    transactional_ddl=True,
    on_version_apply=attributes["on_version_apply"],
)
context.run_migrations()
