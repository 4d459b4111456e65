"""Promises of the seam between Sluice and its adapters: how events name payments, and what is ours to mend."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ITEMS = "app/services/webhooks/event_items.py"
REFERENCES = "app/services/records/references.py"
CALLS = "app/providers/calls/http_adapter.py"
FIELDS = "app/providers/calls/answer_fields.py"
SANDBOX = "app/providers/adapters/sandbox.py"
MACHINE = "app/core/state_machine.py"
EVENTS = "integration/webhooks/test_events.py"
PUBLISHED = "unit/published/test_published_states.py"
CUSTOM = "unit/providers/test_custom.py"
SLOW = "integration/payments/test_slow_methods.py"

SEAM = (
    Mutant(
        "an event is settled once in whichever delivery it comes",
        ITEMS,
        "given = None if result.is_known else self._read(result, found)",
        "given = self._read(result, found)",
        (f"{EVENTS}::test_an_event_is_settled_once_in_whichever_delivery_it_comes",),
    ),
    Mutant(
        "a payment is named by an alias",
        REFERENCES,
        "coalesce(r.payment_id, p.id) as payment_id",
        "p.id as payment_id",
        (f"{EVENTS}::test_a_payment_is_named_by_what_a_fact_has_brought_before",),
    ),
    Mutant(
        "a payment is named by the provider's reference",
        REFERENCES,
        "p.provider_reference = n.reference\n",
        "p.provider_reference = n.reference and false\n",
        (f"{EVENTS}::test_the_expiry_waits_for_a_webhook_that_names_the_payment_by_its_reference",),
    ),
    Mutant(
        "an event about the other mode is no fact",
        ITEMS,
        'if event.is_live is not None and event.is_live != (webhook.mode == "live"):',
        "if event.is_live is None and webhook.mode is None:",
        (f"{EVENTS}::test_an_event_about_the_other_mode_is_no_fact",),
    ),
    Mutant(
        "news moves no money by itself",
        ITEMS,
        "            return _LOOK_UP\n",
        "            return None\n",
        (f"{EVENTS}::test_news_make_the_provider_be_asked_and_move_nothing",),
    ),
    Mutant(
        "what may be another shop's payment is no dead letter",
        ITEMS,
        "isinstance(self.event, Told) and self.event.may_be_foreign:",
        "isinstance(self.event, Told) and self.event.is_live is self:",
        (f"{EVENTS}::test_an_event_that_may_be_about_somebody_elses_payment_is_ignored_in_the_end",),
    ),
    Mutant(
        "a declined attempt leaves its error at the payment",
        MACHINE,
        '    changes = {"last_attempt_error": error} | forget_approval(payment, given)\n',
        "    changes = {} | forget_approval(payment, given)\n",
        (f"{EVENTS}::test_a_declined_attempt_leaves_the_payment_open",),
    ),
    Mutant(
        "a committed payer is waited for",
        MACHINE,
        "committed = changed(payment, now, status=status, committed_until=until, **filled)",
        "committed = changed(payment, now, status=status, **filled)",
        (f"{SLOW}::test_a_committed_payer_is_waited_for",),
    ),
    Mutant(
        "a refusal of our request does not fail the payment",
        SANDBOX,
        "    if code != PAYMENT_DECLINED:\n",
        '    if code == "invalid_field":\n',
        (f"{CUSTOM}::test_only_a_refusal_with_its_code_fails_the_payment",),
    ),
    Mutant(
        "a page that no browser may follow is not offered",
        CALLS,
        "    if fact.redirect_url is None:\n",
        "    if fact.redirect_url == '':\n",
        ("unit/providers/test_http_answers.py::test_a_page_that_no_browser_may_follow_is_not_offered",),
    ),
    Mutant(
        "a state that no provider publishes is not guessed",
        FIELDS,
        "    kind = kinds.get(status) if isinstance(status, str) else None\n",
        "    kind = kinds.get(str(status), next(iter(kinds.values())))\n",
        (f"{PUBLISHED}::test_a_state_that_nobody_publishes_is_unusable",),
    ),
    Mutant(
        "a dispute that Stripe has prevented takes no money",
        "app/providers/adapters/stripe/stripe_money_back.py",
        '.startswith("warning_") and status != _PREVENTED:',
        '.startswith("warning_"):',
        (f"{PUBLISHED}::test_every_dispute_of_stripe_is_read",),
    ),
)
