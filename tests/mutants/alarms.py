"""Promises about alarms: each is open for as long as what raised it lasts (docs/OPERATIONS.md, "Alarms")."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ENDS = "app/services/upkeep/alert_resolution.py"
DECISIONS = "app/services/payments/batch_decisions.py"
SUSPENSE = "integration/refunds/test_suspense_alarms.py"
ENDPOINTS = "integration/deliveries/test_endpoint_alarms.py"
UNUSABLE = f"{ENDPOINTS}::test_a_secret_that_cannot_be_decrypted_is_an_alarm_until_it_can_be_or_need_not"
DISABLED = f"{ENDPOINTS}::test_an_endpoint_that_is_gone_is_an_alarm_until_it_is_enabled_or_deleted"

ALARMS = (
    Mutant(
        "money in suspense that is for a person is an alarm",
        DECISIONS,
        "    if case and case.reason == SUSPENSE:",
        "    if case and case.reason == SUSPENSE and decision.alert:",
        (f"{SUSPENSE}::test_money_that_comes_again_into_suspense_is_an_alarm",),
    ),
    Mutant(
        "what a provider took back is an event, also where a case follows",
        DECISIONS,
        " and case.reason != SUSPENSE:",
        ":",
        (f"{SUSPENSE}::test_what_a_provider_leaves_of_it_is_an_alarm_until_it_took_that_as_well",),
    ),
    Mutant(
        "money in suspense is not said to be in a wallet",
        "app/core/refunds/deciders.py",
        "        alert=None,\n",
        "",
        (f"{SUSPENSE}::test_a_refund_that_cannot_be_made_is_an_alarm_until_a_person_has_decided",),
    ),
    Mutant(
        "an endpoint's secret that is of use again ends its alarm",
        ENDS,
        "            or not exists (select from delivery_work w where w.endpoint_id = e.id))",
        "            )",
        (UNUSABLE,),
    ),
    Mutant(
        "the secret of a disabled endpoint is no alarm any more",
        ENDS,
        "        and (e.disabled_at is not null or ",
        "        and (",
        (UNUSABLE,),
    ),
    Mutant(
        "an alarm whose endpoint has deliveries that wait stays open",
        ENDS,
        "            or not exists (select from delivery_work w where w.endpoint_id = e.id))",
        "            or true)",
        (UNUSABLE,),
    ),
    Mutant(
        "a deleted endpoint is not disabled any more",
        ENDS,
        "        and (e.disabled_at is null or e.deleted_at is not null)",
        "        and e.disabled_at is null",
        (DISABLED,),
    ),
    Mutant(
        "an endpoint that is disabled already is not disabled again",
        "app/services/deliveries/endpoint_breaker.py",
        "    is_enabled = _ENDPOINTS.c.disabled_at.is_(None) & _ENDPOINTS.c.deleted_at.is_(None)",
        "    is_enabled = _ENDPOINTS.c.deleted_at.is_(None)",
        (DISABLED,),
    ),
    Mutant(
        "providers beyond those that are listed keep their alarms",
        "app/services/payments/calls/provider_trouble.py",
        "        if len(rows) >= WATCHED_MAX:",
        "        if False:",
        ("integration/records/test_alerts_resolved.py::test_a_provider_beyond_those_that_are_listed_keeps_its_alarm",),
    ),
)
