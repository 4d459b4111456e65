"""PayPal's objects, made of the sandbox's payment; order, capture and refund have ids of one stem."""

from __future__ import annotations

from typing import Any

from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.values import amounts
from sandbox.values import fields as read

# PayPal takes these without decimals, whatever ISO 4217 says.
WHOLE = frozenset({"HUF", "JPY", "TWD"})
_API = "https://api-m.sandbox.paypal.com"

_ORDER_STATUS = {
    "open": "CREATED",
    "approved": "APPROVED",
    **dict.fromkeys(("processing", "underpaid", "paid", "declined"), "COMPLETED"),
    **dict.fromkeys(("cancelled", "expired"), "VOIDED"),
}
_REFUND_STATUS = {"pending": "PENDING", "done": "COMPLETED", "failed": "FAILED", "lost": "COMPLETED"}
_DISPUTE_STATUS = {"open": "WAITING_FOR_SELLER_RESPONSE", "won": "RESOLVED", "lost": "RESOLVED"}
_OUTCOMES = {"won": "RESOLVED_SELLER_FAVOUR", "lost": "RESOLVED_BUYER_FAVOUR"}


def capture_id(payment: ProviderPayment) -> str:
    """Return the id of a payment's capture."""
    return "C" + payment.reference[1:]


def render_money(minor: int, currency: str) -> dict[str, str]:
    """Return an amount as PayPal writes it."""
    value = amounts.render(minor, currency)
    return {"currency_code": currency, "value": value.partition(".")[0] if currency in WHOLE else value}


def render_time(stored: str) -> str:
    """Return a time without fractions of a second."""
    return stored.partition(".")[0] + "Z"


def render_order(payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
    """Return the order, with its captures and refunds once there are any."""
    status = _ORDER_STATUS.get(payment.status, payment.status)
    unit: dict[str, Any] = {
        "reference_id": "default",
        "amount": render_money(payment.amount_minor, payment.currency),
        "custom_id": payment.merchant_reference,
        "description": payment.request.get("description") or "Payment",
    }
    if status == "COMPLETED":
        unit["payments"] = {"captures": [render_capture(payment)]}
        refunds = [render_refund(payment, back) for back in payment.money_back if _is_refund(back)]
        if refunds:
            unit["payments"]["refunds"] = refunds
    own = f"{_API}/v2/checkout/orders/{payment.reference}"
    links = [{"href": own, "rel": "self", "method": "GET"}]
    if status == "CREATED":
        links.append({"href": redirect_url, "rel": payment.request.get("approval_link", "approve"), "method": "GET"})
    if status == "APPROVED":
        links.append({"href": f"{own}/capture", "rel": "capture", "method": "POST"})
    return {
        "id": payment.reference,
        "intent": "CAPTURE",
        "status": status,
        "purchase_units": [unit],
        "create_time": render_time(payment.created_at),
        "update_time": render_time(payment.updated_at),
        "links": links,
    }


def render_capture(payment: ProviderPayment) -> dict[str, Any]:
    """Return the capture of a payment that has one."""
    currency = payment.received_currency or payment.currency
    status = {"processing": "PENDING", "declined": "DECLINED"}.get(payment.status, "COMPLETED")
    refunded = payment.refunded_minor
    if status == "COMPLETED" and refunded:
        status = "REFUNDED" if refunded == payment.received_minor else "PARTIALLY_REFUNDED"
    own = f"{_API}/v2/payments/captures/{capture_id(payment)}"
    shown = {
        "id": capture_id(payment),
        "status": status,
        "amount": render_money(payment.received_minor or payment.amount_minor, currency),
        "final_capture": True,
        "custom_id": payment.merchant_reference,
        "create_time": render_time(payment.updated_at),
        "update_time": render_time(payment.updated_at),
        "links": [
            {"href": own, "rel": "self", "method": "GET"},
            {"href": f"{own}/refund", "rel": "refund", "method": "POST"},
            {"href": f"{_API}/v2/checkout/orders/{payment.reference}", "rel": "up", "method": "GET"},
        ],
    }
    return shown | ({"status_details": {"reason": "ECHECK"}} if status == "PENDING" else {})


def render_single_capture(payment: ProviderPayment) -> dict[str, Any]:
    """Return the capture by itself, which names its order."""
    return render_capture(payment) | {"supplementary_data": {"related_ids": {"order_id": payment.reference}}}


def _is_refund(back: MoneyBack) -> bool:
    return back.kind == "refund" or back.status == "lost"


def render_refund(payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
    """Return a refund, also one that a lost dispute made."""
    own = f"{_API}/v2/payments/refunds/R{back.token}"
    custom, invoice = (back.request.get(name) for name in ("custom_id", "invoice_id"))
    total = render_money(payment.refunded_minor or back.amount_minor, back.currency)
    return {
        "id": f"R{back.token}",
        "status": _REFUND_STATUS[back.status],
        "amount": render_money(back.amount_minor, back.currency),
        "custom_id": custom or payment.merchant_reference,
        **({"invoice_id": invoice} if invoice else {}),
        "seller_payable_breakdown": {
            "gross_amount": render_money(back.amount_minor, back.currency),
            "total_refunded_amount": total,
        },
        "create_time": render_time(back.created_at),
        "update_time": render_time(back.updated_at),
        "links": [
            {"href": own, "rel": "self", "method": "GET"},
            {"href": f"{_API}/v2/payments/captures/{capture_id(payment)}", "rel": "up", "method": "GET"},
        ],
    }


def render_dispute(payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
    """Return a dispute as its events have it."""
    outcome = {} if back.status == "open" else {"dispute_outcome": {"outcome_code": _OUTCOMES[back.status]}}
    return {
        "dispute_id": f"PP-R-{back.token.upper()}",
        "create_time": render_time(back.created_at),
        "update_time": render_time(back.updated_at),
        "disputed_transactions": [{"seller_transaction_id": capture_id(payment), "custom": payment.merchant_reference}],
        "reason": back.request.get("reason", "UNAUTHORISED").upper(),
        "status": _DISPUTE_STATUS[back.status],
        "dispute_amount": render_money(back.amount_minor, back.currency),
        **outcome,
    }


def render_transaction(payment: ProviderPayment) -> dict[str, Any]:
    """Return a capture as the report lists it."""
    info = {
        "transaction_id": capture_id(payment),
        "transaction_event_code": "T0006",
        "transaction_initiation_date": render_time(payment.updated_at),
        "transaction_updated_date": render_time(payment.updated_at),
        "transaction_amount": render_money(payment.received_minor, payment.received_currency or payment.currency),
        "transaction_status": "S",
        "custom_field": payment.merchant_reference,
    }
    return {"transaction_info": info}


def read_event_names(fields: dict[str, Any]) -> str:
    """Return the names of the events that a webhook is to have, divided by blanks, `*` for all. Raise Refusal."""
    types = fields.get("event_types")
    names = [str(one.get("name")) for one in types if isinstance(one, dict)] if isinstance(types, list) else []
    if not names:
        raise read.refuse("event_types", "event_types must name an event, or * for all")
    return "*" if "*" in names else " ".join(names)
