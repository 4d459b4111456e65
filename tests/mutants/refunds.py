"""Promises about what takes money from a wallet at a shop's request (CONTRACT section 10).

Refunds: held, sent once, moved once, released when they are refused. Debits: never above what is available, once for
each key, reversed once.
"""

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
SPENDING = "app/services/debits/spending.py"
POSTING = "app/services/ledger/debit_posting.py"
CHAIN = "app/services/verification/chain.py"
DEBITED = "integration/debits/test_debits.py"

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

DEBITS = (
    Mutant(
        "what a refund holds is not available",
        POSTING,
        "row.balance_minor - int(row.held_minor)",
        "row.balance_minor",
        (f"{DEBITED}::test_a_debit_takes_no_more_than_is_available",),
    ),
    Mutant(
        "a debit locks the wallet before it reads it",
        POSTING,
        "and kind = 'user'\n    for no key update\n",
        "and kind = 'user'\n",
        (f"{DEBITED}::test_parallel_debits_never_take_more_than_is_available",),
    ),
    Mutant(
        "all that is available can be taken",
        SPENDING,
        "amount_minor > available_minor",
        "amount_minor >= available_minor",
        (f"{DEBITED}::test_a_debit_takes_no_more_than_is_available",),
    ),
    Mutant(
        "a repeated key makes no second debit",
        SPENDING,
        "    if earlier is not None:\n        return earlier\n    if wallet is None",
        "    if wallet is None",
        (f"{DEBITED}::test_debits_that_the_wallet_cannot_repeat_are_replayed",),
    ),
    Mutant(
        "a key of another body is refused",
        SPENDING,
        "if bytes(row.request_sha256) != wanted.request_sha256:",
        "if False:",
        (f"{DEBITED}::test_a_key_is_of_one_debit",),
    ),
    Mutant(
        "a reversal goes the other way",
        POSTING,
        'sign = -1 if transfer.key == "debit" else 1',
        "sign = -1",
        (f"{DEBITED}::test_a_debit_is_reversed_once",),
    ),
    Mutant(
        "an incremental proof reads debits",
        CHAIN,
        'if row["kind"] in _DEBIT_KINDS}',
        "if False}",
        (f"{DEBITED}::test_an_incremental_proof_reads_the_debits_of_new_seals",),
    ),
)
