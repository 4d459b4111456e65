"""Promises about late and excess money that a policy gives back (CONTRACT section 10)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

POLICIES = "app/core/refunds/policy_refunds.py"
EVENTS = "app/core/money_events.py"
RECORDS = "app/core/refunds/records.py"
UNIT = "unit/core/reversals/test_policy_refunds.py"
TABLE = "unit/core/test_money_table.py::test_what_the_page_says_happens"
MADE = "integration/refunds/test_policy_refunds.py"
ADDS_UP = f"{UNIT}::test_whatever_is_reported_each_part_stays_where_it_is"

POLICY_REFUNDS = (
    Mutant(
        "an ended payment keeps its state when its late money goes back",
        EVENTS,
        '        if payment.policy.late == "refund" and policy_refunds.can_refund(payment, fact):',
        "        if False:",
        (TABLE, f"{MADE}::test_late_money_goes_back_and_is_never_the_users"),
    ),
    Mutant(
        "only the asked amount is credited, the excess goes back",
        EVENTS,
        '        transfer=Transfer("deposit", "deposit", before.amount_minor, currency),',
        '        transfer=Transfer("deposit", "deposit", received_minor, currency),',
        (ADDS_UP, f"{MADE}::test_only_the_excess_goes_back"),
    ),
    Mutant(
        "a refund by a policy does not count in what is reversed",
        RECORDS,
        "self.status is RefundStatus.COMPLETED and not self.is_of_policy else 0",
        "self.status is RefundStatus.COMPLETED else 0",
        (f"{UNIT}::test_what_a_provider_takes_back_is_no_refund_of_ours",),
    ),
    Mutant(
        "what a provider takes back is taken from suspense first",
        POLICIES,
        "    return min(amount_minor, money.suspense.free_minor) if payment",
        "    return 0 if payment",
        (TABLE,),
    ),
    Mutant(
        "what a refund that was sent will take is left to it",
        "app/core/refunds/suspense.py",
        "        return max(self.left_minor - self.sent_minor, 0)",
        "        return max(self.left_minor, 0)",
        (f"{UNIT}::test_a_chargeback_after_the_refund_was_sent_leaves_that_its_money",),
    ),
    Mutant(
        "money whose refund failed is for a person",
        "app/core/refunds/deciders.py",
        "        case=case,",
        "        case=None,",
        (ADDS_UP, f"{MADE}::test_a_person_decides_about_a_refund_that_cannot_be_made"),
    ),
    Mutant(
        "an adapter without refunds is not asked for one",
        "app/services/payments/calls/provider_calls.py",
        "    if not adapter.capabilities.can_refund:",
        "    if False:",
        (f"{MADE}::test_a_person_decides_about_a_refund_that_cannot_be_made",),
    ),
    Mutant(
        "money in suspense is not refunded again while a dispute is open",
        POLICIES,
        '    if any(one.state == "opened" for one in payment.disputes):',
        "    if False:",
        (f"{UNIT}::test_money_is_not_refunded_again_while_it_is_disputed",),
    ),
    Mutant(
        "an accepted case is credited from suspense",
        "app/services/ledger/posting.py",
        'return self.shard_key("suspense" if self.transfer.is_from_suspense else "clearing")',
        'return self.shard_key("clearing")',
        (f"{MADE}::test_a_person_decides_about_a_refund_that_cannot_be_made",),
    ),
)
