"""Promises about money that the payer has approved and that we capture."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CAPTURE = "app/core/capture.py"
MACHINE = "app/core/state_machine.py"
CLAIMS = "app/services/payments/calls/provider_claims.py"
STATEMENTS = "app/services/payments/calls/claim_statements.py"
UNIT = "unit/core/captures/test_capture.py"
CAPTURES = "integration/captures/test_captures.py"
DEATHS = "integration/captures/test_capture_deaths.py"

IN_FLIGHT = """\
    if payment.capture_sent_at is not None:
        return Decision(Verdict.IGNORED, CAPTURE_IN_FLIGHT, payment)
"""

CAPTURED = (
    Mutant(
        "a capture is noted before it is sent",
        CLAIMS,
        "    if captures:\n",
        "    if False:\n",
        (f"{CAPTURES}::test_from_the_claim_on_a_cancel_is_refused",),
    ),
    Mutant(
        "a payment that is being cancelled is not captured",
        STATEMENTS,
        "                   when 'advance' then p.capture_sent_at is null and p.status in ('pending', 'processing')\n",
        "",
        (f"{CAPTURES}::test_a_payment_that_is_being_cancelled_is_not_captured",),
    ),
    Mutant(
        "an ended payment is not captured",
        MACHINE,
        "(approve, approve, _completed, _not_captured, _not_captured)",
        "(approve, approve, _completed, approve, approve)",
        (UNIT,),
    ),
    Mutant(
        "a cancel is refused once a capture was sent",
        MACHINE,
        f"{IN_FLIGHT}    cancelled = changed(",
        "    cancelled = changed(",
        (UNIT,),
    ),
    Mutant(
        "a payment does not expire once a capture was sent",
        MACHINE,
        f"{IN_FLIGHT}    if now < payment.awaited_until",
        "    if now < payment.awaited_until",
        (UNIT,),
    ),
    Mutant(
        "only the answer to a capture ends it",
        CAPTURE,
        "if fact.approval is None or fact.approval != payment.approvals or",
        "if",
        (UNIT,),
    ),
    Mutant(
        "an unknown capture is asked for again and never let go",
        CAPTURE,
        "payment.capture_sent_at is not None or now < payment.approved_until",
        "now < payment.approved_until",
        (UNIT,),
    ),
    Mutant(
        "an answer without an outcome leaves a capture unknown",
        "app/services/payments/calls/provider_calls.py",
        "    if fact.kind not in _CAPTURE_OUTCOMES:\n",
        "    if False:\n",
        (f"{CAPTURES}::test_an_unknown_capture_is_asked_for_again_and_never_let_go",),
    ),
    Mutant(
        "past the life of its key a capture is looked up first",
        STATEMENTS,
        "                   when 'advance' then p.capture_sent_at else p.provider_request_at end)",
        "                   when 'advance' then now() else p.provider_request_at end)",
        (f"{CAPTURES}::test_past_the_life_of_its_key_a_capture_is_looked_up_first",),
    ),
    Mutant(
        "a worker that dies after its claim leaves a capture that is in flight",
        CLAIMS,
        "    if captures:\n",
        "    if captures is None:\n",
        (f"{DEATHS}::test_a_worker_dies_at_a_commit_of_the_capture",),
    ),
    Mutant(
        "an approval alone is no capture that was sent",
        CAPTURE,
        "        approvals=payment.approvals + 1,\n",
        "        approvals=payment.approvals + 1,\n        capture_sent_at=now,\n",
        (f"{DEATHS}::test_a_worker_that_dies_before_its_claim_has_not_sent_the_capture",),
    ),
    Mutant(
        "an approval whose capture was not sent can be cancelled",
        MACHINE,
        "def _cancel(payment: Payment, command: Command, now: datetime.datetime) -> Decision:\n"
        "    if payment.capture_sent_at is not None:\n",
        "def _cancel(payment: Payment, command: Command, now: datetime.datetime) -> Decision:\n"
        "    if payment.approved_until is not None:\n",
        (f"{DEATHS}::test_a_capture_whose_worker_died_before_its_claim_can_be_cancelled",),
    ),
)
