"""The states of disputes in lists of providers: those that their documents name, and one that none does."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.errors import UnexpectedAnswer
from app.providers.adapters.razorpay.razorpay_events import read_reports
from app.providers.adapters.stripe.stripe_money_back import read_disputes

STRIPE = {
    "needs_response": "opened",
    "under_review": "opened",
    "won": "won",
    "lost": "lost",
    "warning_needs_response": "opened",
    "warning_under_review": "opened",
    "warning_closed": "won",
    "new_word": "opened",
}
RAZORPAY = {"open": "opened", "under_review": "opened", "won": "won", "lost": "lost", "closed": "won", "new_word": None}


@pytest.mark.parametrize("status", STRIPE)
def test_stripe(status: str) -> None:
    shown: dict[str, Any] = {"id": "dp_1", "status": status, "reason": "fraudulent", "payment_intent": "pi_1"}
    (report,) = read_disputes([shown])
    assert (report.dispute_id, report.state, report.reason) == ("dp_1", STRIPE[status], "fraudulent")


@pytest.mark.parametrize("status", RAZORPAY)
def test_razorpay(status: str) -> None:
    found = read_reports({"id": "disp_1", "status": status, "reason_code": "fraudulent", "respond_by": 0})
    known = RAZORPAY[status]
    assert [(one.dispute_id, one.state) for one in found] == ([] if known is None else [("disp_1", known)])


def test_one_without_an_id_is_not_understood() -> None:
    with pytest.raises(UnexpectedAnswer):
        read_disputes([{"status": "lost"}])
    with pytest.raises(UnexpectedAnswer):
        read_reports({"status": "lost"})
