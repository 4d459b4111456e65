"""Promises about refunds of ours: held, sent once, moved once, released when they are refused (CONTRACT section 10)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ROWS = "app/services/payments/refund_rows.py"
DECIDERS = "app/core/refunds/deciders.py"
ATTRIBUTION = "app/core/refunds/attribution.py"
CALLS = "app/services/payments/calls/provider_calls.py"
UNIT = "unit/core/reversals/test_refunds.py"
MADE = "integration/refunds/test_refunds.py"
UNANSWERABLE = "integration/refunds/test_unanswerable_refunds.py"

REFUNDS = (
    Mutant(
        "a refused refund releases its hold",
        ROWS,
        "        if known.is_unfinished and not one.is_unfinished\n",
        "        if known.is_unfinished and one.completed_at is not None\n",
        (f"{MADE}::test_a_refusal_releases_the_hold",),
    ),
    Mutant(
        "unfinished refunds count in what is left",
        DECIDERS,
        ".left_minor - unfinished_minor(payment, reference, currency)\n    amount",
        ".left_minor\n    amount",
        (f"{MADE}::test_parallel_refunds_never_give_back_more_than_came",),
    ),
    Mutant(
        "a refund is completed once",
        DECIDERS,
        "    if not refund.is_unfinished:\n        if refund.status is RefundStatus.COMPLETED",
        "    if refund.status is RefundStatus.FAILED:\n        if refund.status is RefundStatus.COMPLETED",
        (f"{UNIT}::test_reports_of_all_channels_are_one_effect",),
    ),
    Mutant(
        "a larger total has our own refunds in it first",
        ATTRIBUTION,
        "    return _choose(sent, delta_minor)",
        "    return None",
        (f"{MADE}::test_a_webhook_before_the_answer_is_the_same_refund",),
    ),
    Mutant(
        "a movement is a refund's by its id",
        ATTRIBUTION,
        "if one.names(reversal_id) and not one.is_rejected), None)",
        "if False), None)",
        (f"{UNIT}::test_reports_of_all_channels_are_one_effect",),
    ),
    Mutant(
        "a disputed payment is not refunded",
        DECIDERS,
        '    if any(one.state == "opened" for one in payment.disputes):',
        "    if False:",
        ("integration/refunds/test_refunds_over_http.py::test_a_disputed_payment_is_not_refunded",),
    ),
    Mutant(
        "a refund is not sent again where nothing shows whether it was made",
        CALLS,
        "        if not (subject.is_known or adapter.capabilities.finds_refunds):",
        "        if False:",
        (f"{UNANSWERABLE}::test_a_person_says_that_it_was_made",),
    ),
    Mutant(
        "what the provider made of a rejected refund is booked",
        DECIDERS,
        "        if known.is_rejected:",
        "        if False:",
        (f"{UNANSWERABLE}::test_the_answer_after_a_rejection_is_not_lost",),
    ),
)
