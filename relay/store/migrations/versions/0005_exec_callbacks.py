"""Exec's own callbacks: a token for each workspace, and what watches know of hints."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "callback_tokens",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("old_token", sa.Text(), nullable=True),
        sa.Column("old_token_valid_until", sa.BigInteger(), nullable=True),
        sa.Column("last_callback_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("workspace"),
    )
    op.add_column("watches", sa.Column("exec_callback", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("watches", sa.Column("callback_received_at", sa.BigInteger(), nullable=True))
    op.add_column("watches", sa.Column("unconfirmed_hints", sa.Integer(), server_default="0", nullable=False))
    op.add_column("watches", sa.Column("unconfirmed_since", sa.BigInteger(), nullable=True))
    waiting = sa.text("callback_received_at IS NOT NULL AND next_poll_at IS NOT NULL")
    op.create_index(
        "watches_hinted_due",
        "watches",
        ["workspace", "callback_received_at"],
        unique=False,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    unconfirmed = sa.text("unconfirmed_since IS NOT NULL")
    op.create_index(
        "watches_unconfirmed",
        "watches",
        ["workspace", "unconfirmed_since"],
        unique=False,
        sqlite_where=unconfirmed,
        postgresql_where=unconfirmed,
    )
