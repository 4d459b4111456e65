"""Live connections report refused credentials and uses of keys as web does."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Grant the two functions to the role of live connections."""
    op.execute("grant execute on function door_find_ended, door_note_key_uses to sluice_sockets")
