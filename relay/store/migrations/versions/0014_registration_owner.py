"""Registrations: the API key that made each."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("registrations", sa.Column("owner", sa.Text(), nullable=True))
