"""Proof of the books: checks the invariants that rows can show, while the system runs."""

from app.services.verification.proving import prove
from app.services.verification.report import BrokenInvariant, ProofReport
from app.services.verification.runs import choose_mode, prove_due, record

__all__ = ["BrokenInvariant", "ProofReport", "choose_mode", "prove", "prove_due", "record"]
