"""Count failed authentications and log a bounded number of them, never with a secret."""

from __future__ import annotations

import hmac

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.runtime.metrics import AUTH_FAILURES
from app.runtime.token_bucket import TokenBucket
from app.services.access.callers import parse_credential
from models import Database
from models.database import single

log = structlog.get_logger(__name__)

# Enough to see an attack. More would let an attacker fill the disk, and would cost a query for each guess.
LOGGED_PER_SECOND = 5.0
# Longest address in the log; a longer one is not an address.
SHOWN_CHARACTERS_MAX = 200

_KINDS = {"sk": "secret key", "ct": "client token"}

_FIND_ENDED = single("select reason, secret_sha256 from door_find_ended(:public_part)")
_logged = TokenBucket(LOGGED_PER_SECOND)
_unlogged = 0


def note_failure(database: Database | None, credential: str, address: str, door: str) -> None:
    """Count a refused credential and log its public part, the sender's address and why it was refused.

    `door` is the entrance: api, sockets or metrics. Metrics have one token and no lookup: `database` is None. Reasons:
    missing, malformed, refused, unknown, wrong_secret, expired, revoked, key_expired, key_revoked. Beyond the bound
    only the number of further failures is logged.
    """
    global _unlogged  # one counter for the process, like the token bucket
    parsed = parse_credential(credential) if database else None
    reason = "missing" if not credential else "malformed" if database and parsed is None else "refused"
    AUTH_FAILURES.labels(door, reason).inc()
    if not _logged.take():
        _unlogged += 1
        return
    if parsed is not None and database is not None:
        reason = _find_reason(database, parsed.public_part, parsed.secret_sha256)
    skipped, _unlogged = _unlogged, 0
    log.warning(
        "authentication_failed",
        door=door,
        reason=reason,
        credential=None if parsed is None else _KINDS[credential[:2]],
        public_part=None if parsed is None else parsed.public_part,
        address=address[:SHOWN_CHARACTERS_MAX],
        further_failures=skipped,
    )


def _find_reason(database: Database, public_part: str, secret_sha256: bytes) -> str:
    try:
        rows = database.run_single("door", _FIND_ENDED, {"public_part": public_part})
    except (SQLAlchemyError, OSError):
        return "refused"
    if not rows:
        return "unknown"
    if not hmac.compare_digest(bytes(rows[0].secret_sha256), secret_sha256):
        return "wrong_secret"
    # The key was made or changed between the two queries.
    return str(rows[0].reason or "refused")
