"""Alembic's environment: all new revisions run in one transaction, with the owner's login."""

from alembic import context
from sqlalchemy import create_engine, pool, text

from models import METADATA
from models.partitions import is_described

engine = create_engine(context.config.attributes["owner_url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        include_name=is_described,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": context.config.attributes["lock"]})
        context.run_migrations()
