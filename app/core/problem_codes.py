"""The stable words of problem documents: one code for each kind of problem, for callers' programs.

A code is never renamed and never means something else. Imported in gunicorn's main process: standard library only.
"""

from __future__ import annotations

from http import HTTPStatus

# By code: the statuses that it comes with, and what it means. The first code of a status is the one of problems that
# have no code of their own.
PROBLEM_CODES: dict[str, tuple[tuple[int, ...], str]] = {
    "request_unreadable": ((400,), "The request, its head or its body cannot be read."),
    "json_invalid": ((400,), "The body is no JSON object, or JSON that can be read in two ways."),
    "header_invalid": ((400,), "A header is missing or malformed; `errors` names it."),
    "header_doubled": ((400,), "A header that may come once came twice."),
    "webhook_unverified": ((400,), "The webhook's id, timestamp or signature is missing, malformed or wrong."),
    "webhook_path_mismatch": ((400,), "The webhook's status contradicts the path."),
    "webhook_without_provider": ((400,), "The webhook's body names no provider."),
    "webhook_without_payment": ((400,), "The notification names no payment."),
    "unauthenticated": ((401,), "There is no valid credential."),
    "forbidden": ((403,), "The credential is valid and may not do this."),
    "role_forbidden": ((403,), "The key's role may not do this."),
    "origin_forbidden": ((403,), "Pages of this origin may not call."),
    "address_forbidden": ((403,), "This address may not send the provider's webhooks."),
    "not_found": ((404,), "There is no such object, or it is another tenant's or user's."),
    "provider_unknown": ((404,), "There is no such provider, or the URL's token is wrong."),
    "method_not_allowed": ((405,), "The path has no such method; `Allow` lists those that it has."),
    "request_timeout": ((408,), "The body did not arrive in time."),
    "conflict": ((409,), "The object's state does not allow it."),
    "payment_ended": ((409,), "The payment has ended and cannot be cancelled."),
    "capture_in_flight": ((409,), "The payment's money is being captured; it cannot be cancelled any more."),
    "disputed": ((409,), "The payer disputes the payment; it cannot be refunded meanwhile."),
    "insufficient_funds": ((409,), "The wallet has less available than the debit is to take."),
    "debit_reversed": ((409,), "The debit was reversed before; it is reversed once."),
    "endpoint_disabled": ((409,), "The webhook endpoint is disabled; enable it first."),
    "too_many_endpoints": ((409,), "The tenant has as many webhook endpoints as it may have."),
    "body_too_large": ((413,), "The body is longer than the route takes."),
    "uri_too_long": ((414,), "The request line is too long."),
    "media_type_unsupported": ((415,), "The body has another media type than the route takes."),
    "expectation_failed": ((417,), "The header `Expect` has an unknown value."),
    "served_elsewhere": ((421,), "Live connections are served at the address in `Content-Location`."),
    "fields_invalid": ((422,), "Fields or parameters are wrong; `errors` names each."),
    "idempotency_key_reused": ((422,), "The `Idempotency-Key` was used with another body."),
    "refunds_not_supported": ((422,), "The payment's provider cannot refund through here."),
    "upgrade_required": ((426,), "The address speaks WebSocket only, version 13."),
    "rate_limited": ((429,), "Too many requests, or connections; `Retry-After` says when to try again."),
    "headers_too_large": ((431,), "The headers are too long, or too many."),
    "internal_error": ((500,), "Something unexpected happened; it has been logged."),
    "unavailable": ((503,), "Nothing was done; try again after `Retry-After`."),
    "request_refused": ((406, 410, 412, 416, 428), "Another client error; the status says which."),
}

_OF_STATUS: dict[int, str] = {}
for _code, (_statuses, _) in PROBLEM_CODES.items():
    for _status in _statuses:
        _OF_STATUS.setdefault(_status, _code)


def code_of_status(status: int) -> str:
    """Return the code of a problem that has none of its own."""
    general = "internal_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "request_refused"
    return _OF_STATUS.get(status, general)


def describe_problem(status: int, detail: str, code: str | None, request_id: str) -> dict[str, object]:
    """Return the members of a problem document (RFC 9457) in their order."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code or code_of_status(status),
        "request_id": request_id,
    }
