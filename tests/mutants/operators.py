"""Questions and reasons of operators, pauses that they end, and card numbers (CONTRACT section 7, docs/SECURITY.md)."""

from __future__ import annotations

from tests.mutants.mutant import ROOT, Mutant

CONFIRM = "app/cli/confirm.py"
CARDS = "app/core/validation/card_numbers.py"
# By its name: its number is that of the day on which it came.
PAUSES = str(next(ROOT.glob("models/migrations/versions/*/*_pauses.py")).relative_to(ROOT))
BREAKER = "integration/provider_calls/test_breaker_ends.py"
ASKED = "integration/operators/test_operators_asked.py"
CARD_NUMBERS = "integration/payments/test_card_numbers.py"
CORRECTIONS = "integration/operators/test_corrections.py"
CORRECT = "app/core/reversals/corrections.py"
UNIT_CARDS = "unit/core/test_cards.py"

OPERATORS = (
    Mutant("a no on the command line", CONFIRM, "    if not is_sure:", "    if False:", (ASKED,)),
    Mutant("no confirmation on the command line", CONFIRM, "raise NoConfirmation from None", "return", (ASKED,)),
    Mutant(
        "stories are played with the sandbox alone",
        "app/cli/stories/stage.py",
        'if each["adapter"] == "sandbox" and ',
        "if ",
        ("integration/cli/test_trigger.py::test_only_the_sandbox_is_played_with",),
    ),
    Mutant(
        "accept and reject are asked about",
        "app/cli/commands/operations/dead_letters.py",
        'confirm(f"{_summarize(found)}\\nWould be {decide(*named, True)}", f"{name.capitalize()} it?")',
        "pass",
        (ASKED,),
    ),
    Mutant(
        "the actor is no environment variable",
        "app/services/tenants/changes.py",
        'f"uid:{os.getuid()}@{socket.gethostname()}"',
        "f\"uid:{os.environ.get('LOGNAME', os.getuid())}@{socket.gethostname()}\"",
        (f"{ASKED}::test_the_environment_does_not_name_the_actor",),
    ),
    Mutant(
        "a reason that cannot be kept",
        "app/web/schemas/bodies.py",
        "return reason if reason is None else check_reason(reason)",
        "return reason",
        (ASKED,),
    ),
    Mutant(
        "a list that reconciliation has read ends its provider's pause",
        "app/services/operators/reconciliation.py",
        "breaker.note_listed(runtime, run.tenant_id, provider_id, time.monotonic() - started)",
        "pass",
        (f"{BREAKER}::test_a_list_that_reconciliation_has_read_ends_the_pause_of_its_provider",),
    ),
    Mutant(
        "a list that was asked for before a pause ends it not",
        "app/services/payments/calls/breaker.py",
        "is_older = _BREAKERS.c.changed_at < asked_at",
        "is_older = _BREAKERS.c.changed_at > asked_at",
        (f"{BREAKER}::test_a_list_that_was_asked_for_before_the_pause_does_not_end_it",),
    ),
    Mutant(
        "a correction of no more than is left",
        CORRECT,
        "min(abs(wanted_minor), left_minor)",
        "abs(wanted_minor)",
        (CORRECTIONS,),
    ),
    Mutant(
        "two differences are not both corrected",
        CORRECT,
        "supersedes=CORRECTABLE",
        "supersedes=frozenset()",
        (f"{CORRECTIONS}::test_two_differences_of_one_payment_are_not_both_corrected",),
    ),
    Mutant(
        "what was corrected is no part of a provider's total",
        "app/core/reversals/credited.py",
        "reversed_minor - corrected, refunded_minor",
        "reversed_minor, refunded_minor",
        (f"{CORRECTIONS}::test_less_at_the_provider_is_taken_back_and_later_refunds_of_it_fit",),
    ),
    Mutant(
        "what was corrected no longer differs",
        "app/services/operators/reconciliation_rows.py",
        "corrected = sum_corrections(payment)",
        "corrected = 0",
        (CORRECTIONS,),
    ),
    Mutant(
        "what is credited after a correction is what is left",
        "app/core/money_events.py",
        "(payment.received_minor or 0) - sum_corrections(payment)",
        "payment.received_minor",
        (CORRECTIONS,),
    ),
    Mutant(
        "the clerk makes no pause",
        PAUSES,
        "with check (paused_until <= now())",
        "with check (true)",
        ("integration/models/test_roles.py::test_the_clerk_ends_pauses_of_its_tenants_providers_and_makes_none",),
    ),
    Mutant(
        "a card number in a deposit",
        "app/web/routes/payments.py",
        "errors = card_errors(runtime(), current.tenant_id, values, deposit.idempotency_key)",
        "errors: list[dict[str, str]] = []",
        (CARD_NUMBERS,),
    ),
    Mutant(
        "a card number as a token's user",
        "app/web/routes/users.py",
        "if errors := card_errors(runtime(), current.tenant_id, body.model_dump()):",
        "if errors := []:",
        (CARD_NUMBERS,),
    ),
    Mutant(
        "ids are a tenant's own",
        "app/services/tenants/policies.py",
        "return frozenset(names)",
        "return frozenset()",
        (CARD_NUMBERS,),
    ),
    Mutant(
        "the check digit of a card",
        CARDS,
        "    ) and _passes_luhn(digits)",
        "    )",
        (UNIT_CARDS,),
    ),
)
