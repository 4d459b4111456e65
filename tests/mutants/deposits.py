"""Refusals of deposits and of what they carry (CONTRACT section 3)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SERVICE = "app/services/payments/deposits.py"
MONEY = "app/core/money.py"
JSON = "app/core/strict_json.py"
SCHEMAS = "app/web/schemas/bodies.py"
API = "integration/payments/test_api_deposits.py"
LIMITS = "integration/payments/test_deposit_limits.py"
UNIT_MONEY = "unit/core/test_money.py"
UNIT_JSON = "unit/core/test_strict_json.py"

DEPOSITS = (
    Mutant(
        "an amount below the provider's least is refused when the deposit is made",
        "app/providers/amounts.py",
        "        if units < least:",
        "        if False:",
        (f"{LIMITS}::test_what_the_provider_cannot_take_is_refused_with_its_field",),
    ),
    Mutant(
        "an amount above the provider's most is refused when the deposit is made",
        "app/providers/amounts.py",
        "        if units > most:",
        "        if False:",
        (f"{LIMITS}::test_what_the_provider_cannot_take_is_refused_with_its_field",),
    ),
    Mutant(
        "the same key with another body",
        SERVICE,
        "if bytes(row.request_sha256) != deposit.request_sha256:",
        "if not row.request_sha256:",
        (API, "integration/payments/test_deposits.py"),
    ),
    Mutant(
        "keys of different users do not meet",
        SERVICE,
        'return "" if caller.user_id is None else f"user:{caller.user_id}"',
        'return ""',
        (API, "integration/payments/test_deposits.py"),
    ),
    Mutant(
        "an amount above the tenant's limit",
        SERVICE,
        "case when r.amount_minor > t.amount_minor_max then 'amount' end,",
        "",
        (API, "integration/payments/test_deposits.py"),
    ),
    Mutant(
        "a currency that the provider does not take",
        SERVICE,
        " when r.currency <> all (p.currencies) then 'currency' end,",
        " end,",
        (API, "integration/payments/test_deposits.py"),
    ),
    Mutant(
        "a success URL of a foreign origin",
        SERVICE,
        "case when r.success_url is not null and r.success_origin <> all (t.allowed_origins)\n"
        "                        then 'success_url' end,",
        "",
        (API, "integration/payments/test_deposits.py"),
    ),
    Mutant(
        "a failure URL of a foreign origin",
        SERVICE,
        "r.failure_origin <> all (t.allowed_origins)",
        "r.failure_origin = ''",
        (API, "integration/payments/test_deposits.py"),
    ),
    Mutant(
        "what the provider's adapter cannot take",
        SERVICE,
        "where refused = '{{}}' and refused_there is null",
        "where refused = '{{}}'",
        (LIMITS,),
    ),
    Mutant(
        "a provider that needs a return URL",
        SERVICE,
        "then 'success_url_needed' end,",
        "then null end,",
        (LIMITS,),
    ),
    Mutant(
        "a field that the provider needs",
        "app/providers/deposit_limits.py",
        "if not _has(wanted, name)",
        "if False",
        (LIMITS, "unit/providers/test_deposit_limits.py"),
    ),
    Mutant(
        "a call whose worker died may have arrived",
        "app/services/payments/calls/claim_statements.py",
        "case when claim_id is null then route_position end as route_position",
        "coalesce(route_position, 1::smallint) as route_position",
        ("integration/deposits/test_routes.py",),
    ),
    Mutant(
        "a deposit is made at the first provider of its route that takes it",
        "app/services/payments/deposits.py",
        "order by own.refused <> '{{}}' or r.refusals -> a.adapter is not null,",
        "order by",
        ("integration/deposits/test_route_limits.py",),
    ),
    Mutant(
        "an unknown outcome stays with its provider",
        "app/services/payments/calls/claim_statements.py",
        "            route_position = null\n",
        "            route_position = w.route_position\n",
        ("integration/deposits/test_routes.py",),
    ),
    Mutant(
        "a disabled provider",
        SERVICE,
        " and a.disabled_at is null",
        "",
        (API, "integration/payments/test_deposits.py"),
    ),
    Mutant(
        "an Idempotency-Key of another form",
        "app/web/schemas/parameters.py",
        'matching("^[ -~]+$", "is required: 1 to 255 printable ASCII characters", length_max=255)',
        'matching("(?s)^.+$", "is required: 1 to 255 printable ASCII characters")',
        (API,),
    ),
    Mutant(
        "an amount that is no text",
        MONEY,
        "    if not isinstance(amount, str):",
        "    if isinstance(amount, int):\n        amount = str(amount)\n    if not isinstance(amount, str):",
        (UNIT_MONEY,),
    ),
    Mutant("an amount of zero", MONEY, "if minor <= 0:", "if minor < 0:", (UNIT_MONEY,)),
    Mutant("an amount above 10^15", MONEY, "if minor > AMOUNT_MINOR_MAX:", "if minor > 10**18:", (UNIT_MONEY,)),
    Mutant("a key twice in a body", JSON, "if len(value) != len(pairs):", "if not pairs and value:", (UNIT_JSON,)),
    Mutant("NaN in a body", JSON, "parse_constant=_refuse_constant, ", "", (UNIT_JSON,)),
    Mutant("a body nested without end", JSON, "if depth > DEPTH_MAX:", "if depth > 900:", (UNIT_JSON,)),
    Mutant("a number without end", JSON, "if len(digits) > 32:", "if len(digits) > 4_000:", (UNIT_JSON,)),
    Mutant(
        "a number that is infinite",
        JSON,
        "if math.isinf(value):",
        "if math.isnan(value):",
        ("security/http/test_hostile_json.py",),
    ),
    Mutant(
        "text that cannot be stored",
        JSON,
        '    if "\\\\u" in text:\n        _refuse_unstorable(value)\n',
        "",
        (UNIT_JSON,),
    ),
    Mutant(
        "an unknown field",
        SCHEMAS,
        'class StrictBody(BaseModel, extra="forbid", strict=True)',
        'class StrictBody(BaseModel, extra="ignore", strict=True)',
        (API,),
    ),
    Mutant(
        "a return URL that is not http or https",
        SCHEMAS,
        'parts.scheme not in ("http", "https") or ',
        "",
        (API,),
    ),
    Mutant(
        "a return URL with credentials",
        SCHEMAS,
        '"@" in parts.netloc or ',
        "",
        (API,),
    ),
    Mutant(
        "a user_id of another form",
        "app/web/schemas/values.py",
        "UserId = Annotated[str, Field(pattern=USER_ID_PATTERN",
        "UserId = Annotated[str, Field(min_length=1",
        (API,),
    ),
    Mutant(
        "metadata without bound",
        SCHEMAS,
        "Field(max_length=50, json_schema_extra=",
        "Field(json_schema_extra=",
        (API,),
    ),
    Mutant(
        "a body that is not application/json",
        "app/web/parsing.py",
        "if not is_json():",
        "if request.mimetype is None:",
        (API,),
    ),
    Mutant(
        "a query parameter that the route does not take",
        "app/web/parsing.py",
        "if name not in model.model_fields:",
        "if not name:",
        ("integration/web/test_api_reading.py",),
    ),
)
