"""Refusals of the webhook door (CONTRACT section 4)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SIGNATURES = "app/core/signatures.py"
DOORS = "models/migrations/versions/v0_1/foundation/doors.sql"
BYTES = "unit/core/test_signature_bytes.py"
STANDARD = "unit/core/test_signatures.py"
SCHEMES = "security/webhooks/test_signature_schemes.py"
DOOR = "security/webhooks/test_webhook_door.py"
POKES = "security/webhooks/test_poke_door.py"
POKE_DOORS = "models/migrations/versions/v0_3/providers/0033_pokes.sql"

WEBHOOKS = (
    Mutant(
        "each byte of an HMAC counts",
        SIGNATURES,
        "matches |= hmac.compare_digest(expected, digest)",
        "matches |= hmac.compare_digest(expected[:16], digest[:16])",
        (BYTES,),
    ),
    Mutant(
        "an HMAC has its whole length",
        SIGNATURES,
        "matches |= hmac.compare_digest(expected, digest)",
        "matches |= len(digest) >= 16 and hmac.compare_digest(expected[: len(digest)], digest)",
        (BYTES,),
    ),
    Mutant(
        "a wrong Standard Webhooks signature",
        SIGNATURES,
        "    if not matches:\n",
        "    if not matches and not entries:\n",
        (STANDARD,),
    ),
    Mutant(
        "a wrong Stripe signature",
        SIGNATURES,
        'if not _fits_hmac(keys, digests, times[0].encode("ascii") + b"." + body):',
        "if not digests:",
        (SCHEMES,),
    ),
    Mutant(
        "a wrong plain HMAC",
        SIGNATURES,
        "if not _fits_hmac(keys, digests, body, hash_name):",
        "if not digests:",
        (BYTES,),
    ),
    Mutant(
        "a timestamp from the future",
        SIGNATURES,
        "if abs(now_seconds - int(timestamp)) > TIMESTAMP_TOLERANCE_SECONDS:",
        "if now_seconds - int(timestamp) > TIMESTAMP_TOLERANCE_SECONDS:",
        (STANDARD,),
    ),
    Mutant(
        "a stale timestamp",
        SIGNATURES,
        "if abs(now_seconds - int(timestamp)) > TIMESTAMP_TOLERANCE_SECONDS:",
        "if int(timestamp) - now_seconds > TIMESTAMP_TOLERANCE_SECONDS:",
        (STANDARD,),
    ),
    Mutant(
        "a timestamp that is not 1 to 12 digits",
        SIGNATURES,
        "if not TIMESTAMP.fullmatch(timestamp):",
        "if not timestamp.strip('+-').isdigit():",
        (STANDARD,),
    ),
    Mutant(
        "a webhook id of another form",
        SIGNATURES,
        "if not WEBHOOK_ID.fullmatch(webhook_id) or",
        "if not webhook_id or",
        (STANDARD,),
    ),
    Mutant(
        "a webhook id with a timestamp in it",
        SIGNATURES,
        " or _ID_WITH_TIMESTAMP.search(webhook_id):",
        ":",
        (STANDARD,),
    ),
    Mutant(
        "two signature headers",
        "app/web/routes/webhooks.py",
        "if SINGLE_HEADERS & delivery.doubled:",
        "if not delivery.headers:",
        ("security/http/test_doubled_headers.py::test_two_signature_headers_are_refused_however_they_are_written",),
    ),
    Mutant(
        "two headers of a provider's own scheme",
        "app/services/webhooks/receive.py",
        "if delivery.doubled.intersection(adapter.signature_headers(sender.scheme)):",
        "if not delivery.headers:",
        ("security/http/test_doubled_headers.py::test_the_headers_of_other_schemes_come_once_as_well",),
    ),
    Mutant(
        "more than ten signatures",
        SIGNATURES,
        "if len(entries) > SIGNATURE_ENTRIES_MAX:",
        "if len(entries) > 1_000:",
        (STANDARD,),
    ),
    Mutant(
        "a signature header above 4 KiB",
        SIGNATURES,
        " or len(signature) > SIGNATURE_HEADER_BYTES_MAX:",
        ":",
        (STANDARD,),
    ),
    Mutant(
        "a second spelling of a base64 signature",
        SIGNATURES,
        'return value if base64.b64encode(value).decode("ascii") == encoded else None',
        "return value",
        (STANDARD,),
    ),
    Mutant(
        "a Standard Webhooks secret under 24 bytes",
        SIGNATURES,
        "    if len(key) < SECRET_BYTES_MIN:",
        "    if len(key) < 1:",
        (STANDARD,),
    ),
    Mutant(
        "a text secret under 24 characters",
        SIGNATURES,
        "if not secret.isascii() or len(secret) < SECRET_BYTES_MIN:",
        "if not secret.isascii():",
        (SCHEMES,),
    ),
    Mutant(
        "two times in a Stripe signature",
        SIGNATURES,
        "if len(times) != 1:",
        "if not times:",
        (SCHEMES,),
    ),
    Mutant(
        "an address outside the provider's list",
        "app/services/webhooks/receive.py",
        "if not sender.may_send_from(delivery.remote_address):",
        "if not delivery.remote_address:",
        ("security/webhooks/test_webhook_addresses.py",),
    ),
    Mutant(
        "a status that contradicts the path",
        "app/services/webhooks/receive.py",
        "isinstance(status, str) and status in known - statuses:",
        "isinstance(status, str) and status in statuses - known:",
        (f"{DOOR}::test_what_is_no_webhook_is_refused_by_its_kind",),
    ),
    Mutant(
        "records of refusals are bounded in time",
        "app/services/webhooks/receive.py",
        "if not _records.take():",
        "if _records is None:",
        ("security/webhooks/test_refused_deliveries.py",),
    ),
    Mutant(
        "a webhook that is not application/json",
        "app/web/routes/webhooks.py",
        "if not is_json():",
        'if request.mimetype == "text/html":',
        (f"{DOOR}::test_what_is_no_webhook_is_refused_by_its_kind",),
    ),
    Mutant(
        "a body above its bound that does not say so",
        "app/web/parsing.py",
        "if max(announced, len(raw)) > bytes_max:",
        "if announced > bytes_max:",
        (f"{DOOR}::test_what_is_no_webhook_is_refused_by_its_kind",),
    ),
    Mutant(
        "a secret whose time is over",
        DOORS,
        "and (s.ends_at is null or s.ends_at > now())",
        "",
        (f"{DOOR}::test_secrets_rotate_with_an_overlap_and_end_within_a_second",),
    ),
    Mutant(
        "the same webhook id with other bytes",
        DOORS,
        "k.body_sha256 <> i.sha256 as differs",
        "false as differs",
        (f"{DOOR}::test_the_same_id_with_other_bytes_is_a_conflict_and_an_alarm",),
    ),
    Mutant(
        "another provider of the same tenant settles nothing",
        "app/services/payments/batch_decisions.py",
        "item.tenant_id == payment.tenant_id and item.provider_id in (None, payment.provider_id)",
        "item.tenant_id == payment.tenant_id",
        (f"{DOOR}::test_another_provider_of_the_same_tenant_settles_nothing",),
    ),
    Mutant(
        "another tenant's payment is not settled",
        "app/services/payments/batch_decisions.py",
        "item.tenant_id == payment.tenant_id and item.provider_id in (None, payment.provider_id)",
        "item.provider_id in (None, payment.provider_id)",
        ("integration/tenants/test_tenancy.py::test_a_worker_settles_nothing_of_a_tenant_that_the_item_does_not_name",),
    ),
    Mutant(
        "a wrong token of a URL for unsigned notifications",
        "app/providers/poke_urls.py",
        "found |= hmac.compare_digest(given, known)",
        "found |= len(given) == len(known)",
        (f"{POKES}::test_a_wrong_token_and_a_wrong_provider_are_not_there",),
    ),
    Mutant(
        "a token that has ended",
        POKE_DOORS,
        "and (t.ends_at is null or t.ends_at > now()))",
        ")",
        (f"{POKES}::test_a_rotated_url_overlaps_the_old_one",),
    ),
    Mutant(
        "unsigned notifications about unknown payments are few rows",
        POKE_DOORS,
        "if its_payment is null and not stores_unknown then",
        "if false then",
        (f"{POKES}::test_ten_thousand_unknown_ids_are_few_rows_and_no_call",),
    ),
    Mutant(
        "unsigned notifications about one payment write nothing while one waits",
        POKE_DOORS,
        "if waiting_id is not null then",
        "if false then",
        ("integration/webhooks/test_pokes.py::test_of_a_flood_a_payment_is_asked_about_once_in_a_while",),
    ),
    Mutant(
        "an unsigned notification is no fact",
        "app/services/webhooks/translate.py",
        "    if webhook.path == POKE_PATH:\n",
        "    if not webhook.path:\n",
        ("integration/webhooks/test_pokes.py::test_a_poke_is_a_question_and_its_answer_the_fact",),
    ),
    Mutant(
        "another provider's payment is not asked about",
        POKE_DOORS,
        "where p.tenant_id = wanted_tenant and p.provider_id = wanted_provider and p.id = coalesce(",
        "where p.id = coalesce(",
        (f"{POKES}::test_another_tenants_payment_is_an_unknown_one",),
    ),
    Mutant(
        "the token of a URL stands in no stored request",
        "app/services/payments/calls/provider_claims.py",
        "        request=stored,\n",
        "        request=fill_in_token(runtime, stored, row.poke_tokens),\n",
        ("integration/webhooks/test_pokes.py",),
    ),
    Mutant(
        "event_type and status that disagree",
        "app/providers/adapters/common_webhook.py",
        'if event_type != f"payment.{status}":',
        "if not event_type:",
        ("integration/webhooks/test_webhooks_settled.py",),
    ),
    Mutant(
        "the timeline of each payment has the delivery that settled it",
        "app/services/payments/timeline.py",
        "where tenant_id = :tenant_id and payment_id = :payment_id and kind = 'decision'\n",
        "where tenant_id = :tenant_id and payment_id = :payment_id and kind = ''\n",
        ("integration/webhooks/test_events.py::test_a_delivery_is_shown_with_each_payment_that_it_settled",),
    ),
)
