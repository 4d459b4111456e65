"""What Adyen publishes of refunds, as JSON Schema: the fields of a call, its answer and a notification's item.

Extracts of CheckoutService-v71 and Webhooks-v1 of Adyen's OpenAPI documents (MIT, Copyright (c) 2017 Adyen bv), without
their descriptions and without the fields that neither Sluice nor the sandbox uses: those would be refused here.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

_TEXT = {"type": "string"}
_REFERENCE = {"type": "string", "maxLength": 80}
_AMOUNT = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"currency": {"type": "string", "minLength": 3, "maxLength": 3}, "value": {"type": "integer"}},
    "required": ["currency", "value"],
}
_ASKED = {"amount": _AMOUNT, "merchantAccount": _TEXT, "reference": _REFERENCE}
_TEXTS = ("eventDate", "merchantAccountCode", "merchantReference", "originalReference", "paymentMethod")
_MORE = {
    "type": "object",
    "additionalProperties": False,
    "properties": dict.fromkeys(("hmacSignature", "paymentLinkId"), _TEXT),
}


def _object(properties: dict[str, Any], *required: str) -> Draft202012Validator:
    schema = {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


# PaymentRefundRequest
REFUND_REQUEST = _object(_ASKED, "amount", "merchantAccount")
# PaymentRefundResponse
REFUND_ANSWER = _object(
    {**_ASKED, "paymentPspReference": _TEXT, "pspReference": _TEXT, "status": {"enum": ["received"]}},
    *("amount", "merchantAccount", "paymentPspReference", "pspReference", "status"),
)
# RefundNotificationRequestItem
REFUND_ITEM = _object(
    {
        **dict.fromkeys((*_TEXTS, "pspReference", "reason"), _TEXT),
        "additionalData": _MORE,
        "amount": _AMOUNT,
        "eventCode": {"enum": ["REFUND", "REFUND_FAILED", "REFUNDED_REVERSED", "REFUND_WITH_DATA"]},
        "success": {"enum": ["true", "false"]},
    },
    *("pspReference", "merchantReference", "merchantAccountCode", "eventDate", "eventCode", "amount", "success"),
)
