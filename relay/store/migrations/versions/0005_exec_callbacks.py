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
        sa.Column("old_until", sa.BigInteger(), nullable=True),
        sa.Column("heard_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("workspace"),
    )
    op.add_column("watches", sa.Column("exec_callback", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("watches", sa.Column("hinted_at", sa.BigInteger(), nullable=True))
    op.add_column("watches", sa.Column("hints", sa.Integer(), server_default="0", nullable=False))
    op.add_column("watches", sa.Column("unconfirmed_since", sa.BigInteger(), nullable=True))
    waiting = sa.text("hinted_at IS NOT NULL AND next_look_at IS NOT NULL")
    op.create_index(
        "watches_hinted_due",
        "watches",
        ["workspace", "hinted_at"],
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
