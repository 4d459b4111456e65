"""Refusals of credentials, roles, origins and limits (CONTRACT sections 2 and 5)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.support.repository import ROOT

ACCESS = "app/services/access/callers.py"
GATE = "app/web/gate.py"
ADMISSION = "app/sockets/admission.py"
CAPACITY = "app/http/capacity.py"
# By its name: its number is that of the day on which it came.
DOORS = str(next(ROOT.glob("models/migrations/versions/*/*_access.sql")).relative_to(ROOT))
RATES = "app/web/rate_limits.py"
KEYS = "security/access/test_keys_and_roles.py"
CALLS = "integration/access/test_access.py"
TICKETS = "integration/sockets/test_admission.py"
LIMITS = "integration/sockets/test_limits.py"
FAIRNESS = "security/tenancy/test_fairness.py"
DOUBLED = "security/http/test_doubled_headers.py"

CALLERS = (
    Mutant(
        "a revoked key",
        DOORS,
        "where k.public_part = wanted and k.revoked_at is null",
        "where k.public_part = wanted",
        (f"{KEYS}::test_a_revoked_key_is_dead_within_a_second_and_its_tokens_with_it",),
    ),
    Mutant(
        "an expired client token",
        DOORS,
        "where c.public_part = wanted and c.expires_at > now()",
        "where c.public_part = wanted",
        (f"{KEYS}::test_an_expired_token_is_dead",),
    ),
    Mutant(
        "a ticket older than thirty seconds",
        DOORS,
        "where taken.expires_at > now() and c.expires_at > now()",
        "where c.expires_at > now()",
        (f"{TICKETS}::test_a_ticket_ends_after_its_thirty_seconds",),
    ),
    Mutant(
        "a ticket whose time was never set to thirty seconds",
        ACCESS,
        "TICKET_SECONDS = 30",
        "TICKET_SECONDS = 3600",
        (f"{TICKETS}::test_a_ticket_ends_after_its_thirty_seconds",),
    ),
    Mutant(
        "a ticket that outlives its token",
        DOORS,
        "where taken.expires_at > now() and c.expires_at > now()",
        "where taken.expires_at > now()",
        (f"{TICKETS}::test_a_ticket_ends_with_its_token",),
    ),
    Mutant(
        "a ticket that outlives the key of its token",
        DOORS,
        "c.id = taken.client_token_id\n"
        "    join public.api_keys k on k.tenant_id = c.tenant_id and k.id = c.api_key_id and k.revoked_at is null\n",
        "c.id = taken.client_token_id\n"
        "    join public.api_keys k on k.tenant_id = c.tenant_id and k.id = c.api_key_id\n",
        (f"{TICKETS}::test_a_ticket_ends_with_the_key_of_its_token",),
    ),
    Mutant(
        "a ticket used twice",
        DOORS,
        "delete from public.socket_tickets s where s.ticket_sha256 = wanted",
        "update public.socket_tickets s set expires_at = s.expires_at where s.ticket_sha256 = wanted",
        (f"{TICKETS}::test_a_ticket_opens_one_stream",),
    ),
    Mutant(
        "a known public part with another secret",
        ACCESS,
        "fits = hmac.compare_digest(expected, credential.secret_sha256)",
        "fits = bool(rows)",
        (f"{CALLS}::test_wrong_credentials_are_401_and_slow_nobody_else_down",),
    ),
    Mutant(
        "a remembered public part with another secret",
        ACCESS,
        "is_same = known is not None and hmac.compare_digest(known.secret_sha256, credential.secret_sha256)",
        "is_same = known is not None",
        ("integration/access/test_recognised_callers.py",),
    ),
    Mutant(
        "a caller remembered for longer than a second",
        ACCESS,
        "CACHE_SECONDS = 1.0",
        "CACHE_SECONDS = 60.0",
        (f"{KEYS}::test_a_revoked_key_is_dead_within_a_second_and_its_tokens_with_it",),
    ),
    Mutant(
        "a role that may not",
        GATE,
        "if found.role not in operation.roles:",
        "if not found.role:",
        (f"{KEYS}::test_each_role_may_what_it_may_and_nothing_else",),
    ),
    Mutant(
        "a page of a strange origin at the API",
        GATE,
        "if origin is not None and not _origins().may_call(origin, found.allowed_origins):",
        "if origin is not None and not _origins().is_known(origin):",
        (f"{CALLS}::test_the_real_request_is_checked_against_its_own_tenant",),
    ),
    Mutant(
        "a preflight of an unknown origin",
        GATE,
        "    if not _origins().is_known(origin):",
        "    if not origin:",
        (f"{CALLS}::test_preflights_are_answered_for_known_origins",),
    ),
    Mutant(
        "one rate limit for all tenants",
        RATES,
        'return strategy.hit(RateLimitItemPerSecond(limit), "tenant", str(found.tenant_id), cost=cost)',
        'return strategy.hit(RateLimitItemPerSecond(limit), "tenant", cost=cost)',
        (f"{CALLS}::test_a_tenant_at_its_limit_takes_nothing_from_another_that_has_one",),
    ),
    Mutant(
        "more requests than a tenant may make",
        GATE,
        "tenant_rates().may_pass(found)",
        "tenant_rates()",
        (f"{CALLS}::test_a_tenants_rate_limit_is_its_own",),
    ),
    Mutant(
        "guessing keys costs time",
        GATE,
        "slow.down(name_guesser(address))",
        "name_guesser(address)",
        (f"{KEYS}::test_guessing_is_slowed_and_nobody_is_locked_out",),
    ),
    Mutant(
        "a client reads its own wallets only",
        "app/web/parsing.py",
        "if not USER_ID.fullmatch(user_id) or caller().user_id not in (None, user_id):",
        "if not USER_ID.fullmatch(user_id):",
        (f"{CALLS}::test_objects_of_others_answer_as_if_they_did_not_exist",),
    ),
    Mutant(
        "a client makes deposits for itself only",
        "app/web/routes/payments.py",
        "if current.user_id is not None and body.user_id not in (None, current.user_id):",
        "if current.user_id is not None and body.user_id == '':",
        (f"{CALLS}::test_objects_of_others_answer_as_if_they_did_not_exist",),
    ),
    Mutant(
        "a client reads its own payments only",
        "app/services/payments/queries.py",
        'or_(cast(bindparam("user_id"), Text).is_(None), _OF_USER)',
        'or_(cast(bindparam("user_id"), Text).is_(None), _PAYMENTS.c.user_id.is_not(None))',
        (f"{CALLS}::test_objects_of_others_answer_as_if_they_did_not_exist",),
    ),
    Mutant(
        "a client lists its own payments only",
        "app/services/payments/queries.py",
        '"user_id": caller.user_id if caller.user_id is not None else filters.user_id,',
        '"user_id": filters.user_id,',
        (f"{CALLS}::test_objects_of_others_answer_as_if_they_did_not_exist",),
    ),
    Mutant(
        "a client reads its own events only",
        "app/services/records/notifications.py",
        "        wanted = wanted.where(_NUMBERS.c.user_id == user_id)\n",
        "        pass\n",
        (f"{CALLS}::test_objects_of_others_answer_as_if_they_did_not_exist", "integration/web/test_api_reading.py"),
    ),
    Mutant(
        "two tokens in one handshake",
        ADMISSION,
        'tokens[0] if len(tokens) == 1 else ""',
        'tokens[0] if tokens else ""',
        (f"{TICKETS}::test_two_tokens_in_one_handshake_are_refused",),
    ),
    Mutant(
        "a page of a strange origin at sockets",
        ADMISSION,
        "if origin is not None and not origins.may_call(origin, allowed):",
        "if origin == '':",
        (f"{TICKETS}::test_pages_of_other_origins_get_403", f"{TICKETS}::test_another_tenants_origin_is_not_enough"),
    ),
    Mutant(
        "a user's connections are bounded",
        "app/sockets/hub.py",
        "Slots(Bounds(connections_max, per_tenant, PER_USER_MAX, PER_TOKEN_MAX, PER_KEY_MAX))",
        "Slots(Bounds(connections_max, per_tenant, 100 * PER_USER_MAX, PER_TOKEN_MAX, PER_KEY_MAX))",
        (f"{LIMITS}::test_a_user_has_a_bounded_number_of_connections",),
    ),
    Mutant(
        "a tenant's connections are bounded",
        "app/sockets/hub.py",
        "Slots(Bounds(connections_max, per_tenant, PER_USER_MAX, PER_TOKEN_MAX, PER_KEY_MAX))",
        "Slots(Bounds(connections_max, connections_max, PER_USER_MAX, PER_TOKEN_MAX, PER_KEY_MAX))",
        (f"{FAIRNESS}::test_one_tenant_leaves_live_connections_to_the_others",),
    ),
    Mutant(
        "a client token's connections are bounded",
        "app/sockets/hub.py",
        "Slots(Bounds(connections_max, per_tenant, PER_USER_MAX, PER_TOKEN_MAX, PER_KEY_MAX))",
        "Slots(Bounds(connections_max, per_tenant, PER_USER_MAX, PER_USER_MAX, PER_KEY_MAX))",
        ("unit/sockets/test_hub.py::test_one_token_leaves_connections_to_the_users_others",),
    ),
    Mutant(
        "a user's waiting requests are bounded",
        CAPACITY,
        '(("user", tenant_id, caller.user_id), bounds.user)',
        '(("user", tenant_id, caller.user_id), bounds.total)',
        (f"{FAIRNESS}::test_one_client_token_cannot_hold_all_places_to_wait",),
    ),
    Mutant(
        "a client token's waiting requests are bounded",
        CAPACITY,
        "own = [(token, bounds.token), ",
        "own = [(token, bounds.total), ",
        (f"{FAIRNESS}::test_one_client_token_cannot_hold_all_places_to_wait",),
    ),
    Mutant(
        "a secret key's waiting requests are bounded",
        CAPACITY,
        '[(("key", caller.key_id, None), bounds.key)]',
        '[(("key", caller.key_id, None), bounds.total)]',
        (f"{FAIRNESS}::test_one_key_leaves_places_to_its_tenant_and_one_tenant_to_the_others",),
    ),
    Mutant(
        "a tenant's waiting requests are bounded",
        CAPACITY,
        '(("tenant", tenant_id, None), bounds.tenant)]',
        '(("tenant", tenant_id, None), bounds.total)]',
        (f"{FAIRNESS}::test_one_key_leaves_places_to_its_tenant_and_one_tenant_to_the_others",),
    ),
    Mutant(
        "a client's part of its tenant's rate limit",
        GATE,
        "exceeded = client_rates.find_exceeded(found) or (",
        "exceeded = None or (",
        (f"{FAIRNESS}::test_one_user_cannot_use_up_its_tenants_rate_limit",),
    ),
    Mutant(
        "a client token's part of its user's rate limit",
        RATES,
        'if not self._bucket(found.token_id, "", token_share(limit)).take():',
        'if not self._bucket(found.token_id, "", user_share(limit)).take():',
        (f"{FAIRNESS}::test_one_token_leaves_calls_to_the_users_others",),
    ),
    Mutant(
        "a client token's timeline is its own",
        "app/web/routes/payments.py",
        "timeline.read_timeline(runtime().database, payment.tenant_id, payment.id, current.user_id)",
        "timeline.read_timeline(runtime().database, payment.tenant_id, payment.id)",
        ("security/tenancy/test_client_view.py::test_a_clients_timeline_is_its_own_states_and_entries",),
    ),
    Mutant(
        "a key that has ended",
        DOORS,
        "k.revoked_at is null and (k.expires_at is null or k.expires_at > now())",
        "k.revoked_at is null",
        ("integration/access/test_keys.py::test_a_key_ends_at_its_time_and_its_tokens_with_it",),
    ),
    Mutant(
        "two credentials in one request",
        GATE,
        'if doubled and not rule.startswith("/webhooks/"):',
        "if not doubled and not rule:",
        (f"{DOUBLED}::test_two_credentials_or_keys_are_no_request",),
    ),
    Mutant(
        "the demo answers what comes through an unnamed proxy",
        "app/http/client_address.py",
        "if not is_named and any(name in request.headers for name in _PROXY_HEADERS):",
        "if is_named is None:",
        ("integration/runtime/test_metrics_doors.py::test_what_comes_through_an_unnamed_proxy_is_not_this_machine",),
    ),
    Mutant(
        "an open socket whose token ends",
        DOORS,
        "where c.id = w.id and c.expires_at > now())",
        "where c.id = w.id)",
        (f"{LIMITS}::test_connections_end_with_their_token_and_only_those",),
    ),
    Mutant(
        "a 500 that tells what was raised",
        "app/http/problems.py",
        "return present_refusal(unexpected)",
        "return problem(500, str(error))",
        ("unit/web/test_errors_leak_nothing.py",),
    ),
)
