"""The protocols that this sandbox speaks, by name."""

from __future__ import annotations

from sandbox.protocols.emulated import EmulatedProtocol
from sandbox.protocols.native import NativeProtocol
from sandbox.protocols.protocol import ProviderProtocol
from sandbox.protocols.providers.adyen import AdyenProtocol
from sandbox.protocols.providers.gocardless import GoCardlessProtocol
from sandbox.protocols.providers.mollie import MollieProtocol
from sandbox.protocols.providers.paypal import PayPalProtocol
from sandbox.protocols.providers.paystack import PaystackProtocol
from sandbox.protocols.providers.razorpay import RazorpayProtocol
from sandbox.protocols.providers.stripe import StripeProtocol

NATIVE = NativeProtocol()
_EMULATED: tuple[EmulatedProtocol, ...] = (
    StripeProtocol(),
    MollieProtocol(),
    PaystackProtocol(),
    RazorpayProtocol(),
    AdyenProtocol(),
    GoCardlessProtocol(),
    PayPalProtocol(),
)
EMULATED = {protocol.name: protocol for protocol in _EMULATED}
PROTOCOLS: dict[str, ProviderProtocol] = {NATIVE.name: NATIVE, **EMULATED}
