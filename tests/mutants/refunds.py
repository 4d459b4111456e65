"""Promises about refunds of ours: held, sent once, moved once, released when they are refused (CONTRACT section 10)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ROWS = "app/services/payments/refund_rows.py"
DECIDERS = "app/core/refunds/deciders.py"
ATTRIBUTION = "app/core/refunds/attribution.py"
CALLS = "app/services/payments/calls/provider_calls.py"
UNIT = "unit/core/reversals/test_refunds.py"
MADE = "integration/refunds/test_refunds.py"
LIMITS = "integration/refunds/test_refund_limits.py"
UNANSWERABLE = "integration/refunds/test_unanswerable_refunds.py"

REFUNDS = (
    Mutant(
        "a refused refund releases its hold",
        ROWS,
        "        if known.is_unfinished and not one.is_unfinished and not one.is_of_policy\n",
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
        "if one.id == refund_id or one.names(reversal_id))",
        "if one.id == refund_id)",
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
        "        if not (can.reads_refunds if subject.is_known else can.finds_refunds):",
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
    Mutant(
        "what the provider does not have is not sent against a dispute",
        CALLS,
        "        if not claim.may_send_refund:",
        "        if False:",
        (f"{LIMITS}::test_what_the_provider_does_not_have_is_not_sent_against_a_dispute_or_beyond_what_is_left",),
    ),
    Mutant(
        "a refund that cannot be prepared waits for a person",
        "app/services/payments/calls/set_aside.py",
        "    refund_id = call.refund_id\n",
        "    refund_id = None\n",
        (f"{LIMITS}::test_a_call_that_cannot_be_prepared_waits_for_a_person",),
    ),
    Mutant(
        "a refund that waits for a person holds up no other",
        "app/services/payments/calls/set_aside.py",
        "        (has_other, func.now()),\n",
        "",
        (f"{LIMITS}::test_a_refund_that_waits_for_a_person_holds_up_no_other",),
    ),
    Mutant(
        "a second payment is refunded in its own currency",
        DECIDERS,
        "        currency = others[0].currency\n",
        "",
        (f"{LIMITS}::test_a_second_payment_is_refunded_in_its_own_currency",),
    ),
    Mutant(
        "refunds of one wallet take turns",
        "app/services/payments/refunds.py",
        "order by w.id for no key update of w",
        "order by w.id",
        (f"{LIMITS}::test_refunds_of_one_wallet_take_no_more_than_it_has_available",),
    ),
)
