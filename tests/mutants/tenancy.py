"""The first wall between tenants, the tenant in each query; what the second wall, row-level security, would hide."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MATRIX = "security/tenancy/test_http.py::test_a_stranger_learns_and_changes_nothing"

TENANCY = (
    Mutant(
        "a query for a payment names the tenant",
        "app/services/payments/queries.py",
        '_OF_TENANT = select(*SHOWN).where(_PAYMENTS.c.tenant_id == bindparam("tenant_id"))\n',
        "_OF_TENANT = select(*SHOWN)\n",
        (MATRIX,),
    ),
    Mutant(
        "a list of payments names the tenant",
        "app/services/payments/queries.py",
        "wanted = _OF_TENANT.where(",
        "wanted = select(*SHOWN).where(",
        (MATRIX,),
    ),
    Mutant(
        "another tenant's provider takes no deposits",
        "app/services/payments/deposits.py",
        "where a.tenant_id = t.id and a.disabled_at is null",
        "where a.disabled_at is null",
        (MATRIX,),
    ),
    Mutant(
        "a query for wallets names the tenant",
        "app/services/ledger/wallets.py",
        "where tenant_id = :tenant_id and user_id = :user_id and kind = 'user'\n    ), holds",
        "where cast(:tenant_id as uuid) is not null and user_id = :user_id and kind = 'user'\n    ), holds",
        (MATRIX,),
    ),
    Mutant(
        "a query for holds names the tenant",
        "app/services/ledger/wallets.py",
        "where tenant_id = :tenant_id and user_id = :user_id and state = 'held'",
        "where cast(:tenant_id as uuid) is not null and user_id = :user_id and state = 'held'",
        (MATRIX,),
    ),
    Mutant(
        "a query for entries names the tenant",
        "app/services/ledger/wallets.py",
        "where w.tenant_id = :tenant_id and w.user_id = :user_id and w.kind = 'user'",
        "where cast(:tenant_id as uuid) is not null and w.user_id = :user_id and w.kind = 'user'",
        (MATRIX,),
    ),
    Mutant(
        "a query for events names the tenant",
        "app/services/records/notifications.py",
        "_NUMBERS.c.tenant_id == tenant_id, _NUMBERS.c.number > func.greatest(after, held_after)",
        "_NUMBERS.c.number > func.greatest(after, held_after)",
        (MATRIX,),
    ),
    Mutant(
        "a query for a dead letter names the tenant",
        "app/services/operators/dead_letters.py",
        "found = found.where(_LETTERS.c.tenant_id == tenant_id)",
        "found = found.where(_LETTERS.c.tenant_id.is_not(None))",
        (MATRIX,),
    ),
    Mutant(
        "a list of dead letters names the tenant",
        "app/services/operators/dead_letters.py",
        'for name in ("tenant_id", "state",',
        'for name in ("state",',
        (MATRIX,),
    ),
    Mutant(
        "a decision about a dead letter names the tenant",
        "app/services/operators/resolve.py",
        "of_tenant = (_LETTERS.c.tenant_id == tenant_id, _LETTERS.c.id == dead_letter_id)",
        "of_tenant = (_LETTERS.c.tenant_id.is_not(None), _LETTERS.c.id == dead_letter_id)",
        (MATRIX,),
    ),
    Mutant(
        "a live tenant has no emulator",
        "app/services/tenants/providers.py",
        'if mode == "live" and name != OWN_APP',
        'if mode == "" and name != OWN_APP',
        ("integration/cli/test_adapters.py::test_a_live_tenant_cannot_have_an_emulator",),
    ),
    Mutant(
        "the database refuses a live tenant an emulator",
        "models/migrations/versions/v0_3/addresses/0044_live_addresses.sql",
        "check (mode = 'test' or ",
        "check (mode in ('test', 'live') or ",
        ("integration/cli/test_configuration.py::test_the_database_keeps_test_and_live_apart",),
    ),
)
