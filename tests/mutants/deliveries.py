"""Promises about deliveries to tenants' endpoints: at least once, the same bytes, ended and deleted in time."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STATEMENTS = "app/services/deliveries/delivery_statements.py"
ENDS = "app/services/deliveries/delivery_ends.py"
REDELIVERY = "app/services/deliveries/redelivery.py"
APART = "integration/deliveries/test_endpoints_apart.py"
ENDED = "integration/deliveries/test_delivery_ends.py"

DELIVERIES = (
    Mutant(
        "a lost claim does not end a delivery",
        STATEMENTS,
        "where w.delivery_id = r.delivery_id and w.claim_id = r.claim_id and r.status <> 'pending'",
        "where w.delivery_id = r.delivery_id and r.status <> 'pending'",
        (f"{APART}::test_a_claim_that_was_lost_writes_nothing",),
    ),
    Mutant(
        "a lost claim does not reschedule a delivery",
        STATEMENTS,
        "where w.delivery_id = r.delivery_id and w.claim_id = r.claim_id and r.status = 'pending'",
        "where w.delivery_id = r.delivery_id and r.status = 'pending'",
        (f"{APART}::test_a_claim_that_was_lost_writes_nothing",),
    ),
    Mutant(
        "the body is kept before the first try",
        "app/services/deliveries/delivery_claims.py",
        "            if row.message is None:\n                first_tries",
        "            if False:\n                first_tries",
        ("integration/deliveries/test_delivered.py::test_every_try_sends_the_same_bytes_under_the_same_id",),
    ),
    Mutant(
        "the whole exchange with an endpoint is bounded",
        "app/providers/calls/endpoint_posts.py",
        "CallBounds(TOTAL_SECONDS, ",
        "CallBounds(12.0, ",
        ("integration/deliveries/test_retries.py::test_the_whole_exchange_is_bounded",),
    ),
    Mutant(
        "what waits ends with an endpoint that the system disables",
        "app/services/deliveries/endpoint_breaker.py",
        'end_waiting(connection, row.tenant_id, row.endpoint_id, "the endpoint is disabled")',
        "0",
        (
            f"{ENDED}::test_what_waits_for_an_endpoint_that_is_gone_ends_with_it",
            f"{ENDED}::test_what_waits_for_an_endpoint_that_fails_for_days_ends_with_it",
        ),
    ),
    Mutant(
        "what waits ends with an endpoint that is deleted",
        "app/services/deliveries/webhook_endpoints.py",
        '        end_waiting(connection, tenant_id, endpoint_id, "the endpoint is deleted")\n',
        "",
        (f"{ENDED}::test_what_waits_for_an_endpoint_that_is_deleted_ends_with_it",),
    ),
    Mutant(
        "a request that deletes an endpoint ends no more than its bound",
        ENDS,
        "            order by due_at limit :rows for update skip locked)",
        "            order by due_at for update skip locked)",
        (f"{ENDED}::test_what_is_too_much_to_end_at_once_ends_when_it_is_due",),
    ),
    Mutant(
        "a run of housekeeping deletes no more than its bound",
        ENDS,
        "range(DELETIONS_MAX)",
        "range(100)",
        (f"{ENDED}::test_a_run_deletes_no_more_than_its_bound",),
    ),
    Mutant(
        "an attempt under way is not ended with its endpoint",
        ENDS,
        "and (claim_id is null or due_at <= now())",
        "",
        (f"{ENDED}::test_an_attempt_under_way_when_its_endpoint_is_deleted_is_the_last_one",),
    ),
    Mutant(
        "a failed attempt at a deleted endpoint has no retry",
        STATEMENTS,
        "then 0 else r.wait end",
        "then r.wait else r.wait end",
        (f"{ENDED}::test_an_attempt_under_way_when_its_endpoint_is_deleted_is_the_last_one",),
    ),
    Mutant(
        "a delivery is kept for its days",
        ENDS,
        "now() - make_interval(days => :days)",
        "now()",
        (f"{ENDED}::test_ended_deliveries_are_deleted_after_their_days",),
    ),
    Mutant(
        "a delivery that is pending is not deleted",
        ENDS,
        " and status <> 'pending'",
        "",
        (f"{ENDED}::test_ended_deliveries_are_deleted_after_their_days",),
    ),
    Mutant(
        "housekeeping deletes old deliveries",
        "app/services/upkeep/sweep.py",
        "        delete_old,\n",
        "",
        (f"{ENDED}::test_ended_deliveries_are_deleted_after_their_days",),
    ),
    Mutant(
        "housekeeping does not wait for a redelivery",
        ENDS,
        "order by id limit :rows for update skip locked",
        "order by id limit :rows",
        (f"{ENDED}::test_a_delivery_that_is_being_redelivered_is_not_deleted",),
    ),
    Mutant(
        "a deleted delivery cannot be redelivered",
        REDELIVERY,
        "wanted.with_for_update(read=True, key_share=True)",
        "wanted",
        (f"{ENDED}::test_what_was_deleted_is_redelivered_as_an_event_that_the_endpoint_never_got",),
    ),
    Mutant(
        "a range survives a deletion at the same moment",
        REDELIVERY,
        "        for key share of d\n",
        "",
        (f"{ENDED}::test_what_was_deleted_is_redelivered_as_an_event_that_the_endpoint_never_got",),
    ),
)
