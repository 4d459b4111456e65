"""Proves the books from the rows: the invariants that can be read from the database, while the system runs."""

from app.services.verification.proving import Broken, Report, prove
from app.services.verification.runs import choose_mode, prove_due, record

__all__ = ["Broken", "Report", "choose_mode", "prove", "prove_due", "record"]
