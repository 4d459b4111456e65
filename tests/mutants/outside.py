"""Refusals of calls to the outside, of poisoned doorbells, and the walls inside the database."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

OUTGOING = "app/providers/calls/outgoing.py"
SOCKETS = "app/providers/calls/connections.py"
ADDRESSES = "app/providers/calls/addresses.py"
GUARD = "security/outgoing/test_guard.py"
BOUNDS = "security/outgoing/test_bounds.py"
CONNECTIONS = "security/outgoing/test_connections.py"
ANSWERS = "integration/provider_calls/test_provider_answers.py"
VALUES = "integration/provider_calls/test_provider_values.py"
SCHEMA = "integration/models/test_schema.py"
CERTIFICATES = "app/providers/adapters/paypal/paypal_certificates.py"
PAYPAL = "security/paypal/test_paypal_certificates.py"
SEALS = "models/migrations/versions/v0_3/0024_chains.sql"
SEALING = "integration/audit_chain/test_seals.py"

OUTSIDE = (
    Mutant(
        "a host with a private address beside a public one",
        SOCKETS,
        "if not found or not all(is_callable(",
        "if not found or not any(is_callable(",
        (GUARD,),
    ),
    Mutant("an answer above its bound", OUTGOING, "if len(content) > RESPONSE_BYTES_MAX:", "if False:", (BOUNDS,)),
    Mutant(
        "cookies of one account on another's call",
        OUTGOING,
        '"User-Agent": "sluice", **headers,',
        '"User-Agent": "sluice", "Cookie": "s=1", **headers,',
        (GUARD,),
    ),
    Mutant(
        "a connection that must not be used again",
        OUTGOING,
        "response.isclosed() and not response.will_close",
        "response.isclosed()",
        (f"{CONNECTIONS}::test_a_connection_is_used_again_only_after_a_whole_answer",),
    ),
    Mutant(
        "a connection that the provider has closed",
        SOCKETS,
        "if kept.resume(bounds):",
        "if kept.resume(bounds) or True:",
        (f"{CONNECTIONS}::test_a_connection_that_the_provider_has_closed_is_replaced",),
    ),
    Mutant(
        "an answer whose surroundings have no end",
        SOCKETS,
        "if self._bytes_left < 0:",
        "if False:",
        (BOUNDS,),
    ),
    Mutant(
        "what is left of one answer is not the next one's",
        OUTGOING,
        "answer.status in (200, 201) and response.isclosed() and",
        "response.isclosed() and",
        (f"{BOUNDS}::test_what_is_left_of_an_answer_is_not_the_next_ones",),
    ),
    Mutant(
        "whatever a call raises is an unknown outcome",
        "app/services/payments/calls/provider_calls.py",
        'return OutcomeUnknown(f"the call raised {type(error).__name__}")',
        "raise",
        (f"{ANSWERS}::test_whatever_a_call_raises_is_an_unknown_outcome",),
    ),
    Mutant(
        "a provider's javascript: URL is never stored",
        "app/core/validation/provider_values.py",
        r"[Hh][Tt][Tt][Pp][Ss]?://[!-\[\]-~]+",
        r"[a-zA-Z]+:[!-~]+",
        (f"{VALUES}::test_a_url_that_no_browser_may_follow_is_never_kept",),
    ),
    Mutant(
        "a provider's reference is refused, not kept, above its bound",
        "app/core/validation/provider_values.py",
        "0 < len(value) <= REFERENCE_LENGTH_MAX",
        "0 < len(value)",
        (f"{VALUES}::test_a_reference_that_cannot_be_kept_is_refused_never_cut",),
    ),
    Mutant(
        "http to another machine",
        OUTGOING,
        'if parts.scheme != "https":',
        'if parts.scheme not in ("http", "https"):',
        (GUARD,),
    ),
    Mutant(
        "a provider on this machine outside development",
        OUTGOING,
        "if is_loopback_name(host):",
        "if not host:",
        (GUARD,),
    ),
    Mutant(
        "multicast and reserved addresses",
        ADDRESSES,
        "return ip.is_global and not ip.is_multicast and not ip.is_reserved",
        "return ip.is_global",
        (GUARD,),
    ),
    Mutant(
        "an IPv4 address inside a 6to4 or Teredo one",
        ADDRESSES,
        "inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)",
        "inner = ip.ipv4_mapped",
        (GUARD,),
    ),
    Mutant(
        "an IPv4 address behind NAT64",
        ADDRESSES,
        "if inner is None and any(ip in network for network in _ENDS_IN_IPV4):",
        "if inner is None and False:",
        (GUARD,),
    ),
    Mutant(
        "a flood of forged webhooks spends no fetches of known certificates",
        CERTIFICATES,
        "self._proved_budget if url.text in self._proved else self._others_budget",
        "self._others_budget",
        (f"{PAYPAL}::test_a_certificate_that_was_good_is_served_and_fetched_anew_during_a_flood",),
    ),
    Mutant(
        "a known certificate does not wait for the fetch of another",
        CERTIFICATES,
        "        if not budget.fetching.acquire(",
        "        budget.fetching = self._others_budget.fetching\n        if not budget.fetching.acquire(",
        (f"{PAYPAL}::test_a_certificate_that_was_good_does_not_wait_for_the_fetch_of_another",),
    ),
    Mutant(
        "forged webhooks for one account leave fetches for the others",
        CERTIFICATES,
        "of_account >= self.per_account or ",
        "",
        (f"{PAYPAL}::test_strangers_cause_no_more_than_a_few_fetches_for_an_account_and_in_all",),
    ),
    Mutant(
        "strangers cause few fetches in all",
        CERTIFICATES,
        "len(self._made) >= self.most or ",
        "",
        (f"{PAYPAL}::test_strangers_cause_no_more_than_a_few_fetches_for_an_account_and_in_all",),
    ),
    Mutant(
        "one certificate that cannot be had leaves fetches for others",
        CERTIFICATES,
        " or of_url >= FETCHES_PER_URL",
        "",
        (f"{PAYPAL}::test_one_certificate_that_cannot_be_had_leaves_fetches_for_others",),
    ),
    Mutant(
        "pickles in the queues of doorbells",
        "celeryconfig.py",
        'accept_content = ["json"]',
        'accept_content = ["json", "pickle"]',
        ("security/broker/test_poisoned_doorbells.py",),
    ),
    Mutant(
        "entries are append-only",
        "models/migrations/versions/v0_1/foundation/guards.sql",
        "create trigger entries_are_append_only before update or delete on wallet_transactions",
        "create trigger entries_are_append_only before update of currency on wallet_transactions",
        (SCHEMA, "integration/verification/test_corruptions.py"),
    ),
    Mutant(
        "the audit is append-only",
        "models/migrations/versions/v0_1/foundation/guards.sql",
        "create trigger audit_is_append_only before update or delete on audit_logs",
        "create trigger audit_is_append_only before update of actor on audit_logs",
        (SCHEMA,),
    ),
    Mutant(
        "every column of the audit is sealed",
        SEALS,
        "octet_length(actor), ':', actor, ",
        "",
        (SEALING,),
    ),
    Mutant(
        "no two writers extend one chain of seals",
        SEALS,
        "while not pg_try_advisory_xact_lock(",
        "while not pg_try_advisory_xact_lock_shared(",
        (SEALING,),
    ),
    Mutant(
        "each seal is chained to the one before",
        SEALS,
        "coalesce(l.seal_sha256, decode(",
        "coalesce(null, decode(",
        (SEALING,),
    ),
    Mutant(
        "row-level security is forced on every table",
        "models/migrations/versions/v0_1/foundation/roles.sql",
        "        execute format('alter table %I force row level security', table_name);\n",
        "",
        (SCHEMA,),
    ),
)
