"""Promises about money that goes back and comes again, as GoCardless's events say it and as any answer shows it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

HISTORY = "app/providers/adapters/gocardless/gocardless_history.py"
EVENTS = "app/providers/adapters/gocardless/gocardless_events.py"
READ = "unit/providers/test_gocardless_history.py"
TRANSLATED = "unit/providers/test_gocardless.py"
CHANNELS = "integration/reversals/test_gocardless_channels.py"
SINGLE = "integration/reversals/test_single_reversals.py"

MONEY_BACK = (
    Mutant(
        "a direct debit that fails before it was confirmed takes nothing back",
        HISTORY,
        '(action == "failed" and self.was_confirmed)',
        'action == "failed"',
        (f"{READ}::test_each_cycle_has_the_id_of_the_event_that_began_it",),
    ),
    Mutant(
        "a chargeback that was cancelled has its money again",
        HISTORY,
        "self.cycles[next(reversed(self.cycles))] = True",
        "self.cycles[next(reversed(self.cycles))] = False",
        (f"{CHANNELS}::test_each_step_is_booked_when_it_happens",),
    ),
    Mutant(
        "each time that a payment is charged back has an id of its own",
        HISTORY,
        "self.cycles[read_kept_id(event)] = False",
        'self.cycles["chargeback"] = False',
        (f"{CHANNELS}::test_chargebacks_and_refunds_that_come_and_go_end_alike",),
    ),
    Mutant(
        "money of a refund that never arrived is back",
        HISTORY,
        '("failed", "bounced", "funds_returned"), True',
        '("failed", "bounced", "funds_returned"), False',
        (f"{CHANNELS}::test_chargebacks_and_refunds_that_come_and_go_end_alike",),
    ),
    Mutant(
        "a refund that is under way has taken nothing",
        HISTORY,
        '("created", "pending_submission", "submitted", "cancelled"), None',
        '("created", "pending_submission", "submitted", "cancelled"), False',
        ("integration/adapters/test_gocardless_adapter.py::test_a_refund_that_is_under_way_has_moved_nothing",),
    ),
    Mutant(
        "events that are older than their payment are asked for again",
        HISTORY,
        "if is_held is history.is_gone:",
        "if False:",
        (f"{READ}::test_events_that_do_not_lead_to_the_status_are_asked_for_again",),
    ),
    Mutant(
        "events are read from the oldest on",
        HISTORY,
        'if event.get("resource_type") == "payments"][::-1]',
        'if event.get("resource_type") == "payments"]',
        (f"{READ}::test_each_cycle_has_the_id_of_the_event_that_began_it",),
    ),
    Mutant(
        "events of refunds are none of the payment's",
        HISTORY,
        'if event.get("resource_type") == "payments"]',
        'if event.get("resource_type")]',
        (f"{READ}::test_each_cycle_has_the_id_of_the_event_that_began_it",),
    ),
    Mutant(
        "the end of a chargeback ends its dispute",
        HISTORY,
        "self.disputes[last] = replace(self.disputes[last], state=state)",
        "self.disputes[last] = self.disputes[last]",
        (f"{READ}::test_each_cycle_has_the_id_of_the_event_that_began_it",),
    ),
    Mutant(
        "the settlement of a chargeback has GoCardless asked",
        EVENTS,
        ', "payments.chargeback_settled"),',
        "),",
        (f"{TRANSLATED}::test_each_event_names_its_payment",),
    ),
    Mutant(
        "a dispute that a lookup shows is marked",
        "app/core/reversals/following.py",
        "(*money, *disputes.list_due(decision.payment, given))",
        "money",
        (f"{SINGLE}::test_a_dispute_is_marked_once_whichever_channel_reports_it_first",),
    ),
    Mutant(
        "a dispute that the provider's list shows is marked",
        "app/core/reconciliation.py",
        "    moved += list_news(payment, fact.disputes)\n",
        "",
        (f"{SINGLE}::test_a_dispute_is_marked_once_whichever_channel_reports_it_first",),
    ),
    Mutant(
        "a dispute that is known is no news in the next list",
        "app/services/operators/reconciliation_rows.py",
        'disputes = tuple(map(read_dispute, row["known_disputes"]))',
        "disputes = ()",
        (f"{SINGLE}::test_a_dispute_that_is_known_costs_the_next_list_no_settlement",),
    ),
)
