"""Promises about debits: never above what is available, once for each key, reversed once (CONTRACT section 10)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SPENDING = "app/services/debits/spending.py"
POSTING = "app/services/ledger/debit_posting.py"
CHAIN = "app/services/verification/chain.py"
MADE = "integration/debits/test_debits.py"

DEBITS = (
    Mutant(
        "what a refund holds is not available",
        POSTING,
        "row.balance_minor - int(row.held_minor)",
        "row.balance_minor",
        (f"{MADE}::test_a_debit_takes_no_more_than_is_available",),
    ),
    Mutant(
        "a debit locks the wallet before it reads it",
        POSTING,
        "and kind = 'user'\n    for no key update\n",
        "and kind = 'user'\n",
        (f"{MADE}::test_parallel_debits_never_take_more_than_is_available",),
    ),
    Mutant(
        "all that is available can be taken",
        SPENDING,
        "amount_minor > available_minor",
        "amount_minor >= available_minor",
        (f"{MADE}::test_a_debit_takes_no_more_than_is_available",),
    ),
    Mutant(
        "a repeated key makes no second debit",
        SPENDING,
        "    if earlier is not None:\n        return earlier\n    if wallet is None",
        "    if wallet is None",
        (f"{MADE}::test_debits_that_the_wallet_cannot_repeat_are_replayed",),
    ),
    Mutant(
        "a key of another body is refused",
        SPENDING,
        "if bytes(row.request_sha256) != wanted.request_sha256:",
        "if False:",
        (f"{MADE}::test_a_key_is_of_one_debit",),
    ),
    Mutant(
        "a reversal goes the other way",
        POSTING,
        'sign = -1 if transfer.key == "debit" else 1',
        "sign = -1",
        (f"{MADE}::test_a_debit_is_reversed_once",),
    ),
    Mutant(
        "an incremental proof reads debits",
        CHAIN,
        'if row["kind"] in _DEBIT_KINDS}',
        "if False}",
        (f"{MADE}::test_an_incremental_proof_reads_the_debits_of_new_seals",),
    ),
)
