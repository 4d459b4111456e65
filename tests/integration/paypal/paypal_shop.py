"""A shop with an account at the PayPal emulator: client id and secret, tokens, and a webhook's id."""

from __future__ import annotations

import base64
import secrets
import zlib
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.integration.emulators.emulated_shop import EmulatedShop
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received, WebhookReceiver

SECONDS = 10


class PayPalShop(EmulatedShop):
    """One account of a test's own."""

    def __init__(self, sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
        self.client_id, self.client_secret = f"client_{secrets.token_hex(12)}", f"secret_{secrets.token_hex(12)}"
        webhook_id = secrets.token_hex(8).upper() + "A"
        super().__init__(sandbox, receiver, "paypal", f"{self.client_id}:{self.client_secret}", webhook_id)

    def exchange(self, key: str | None = None) -> requests.Response:
        """Exchange the credential, or another one, for a token."""
        basic = base64.b64encode((key or self.key).encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}
        return requests.post(
            f"{self.url}/v1/oauth2/token", {"grant_type": "client_credentials"}, headers=headers, timeout=SECONDS
        )

    def call(
        self, method: str, path: str, body: Any = None, key: str | None = None, token: str | None = None
    ) -> requests.Response:
        """Make a call with a token of the account, or another one, and an idempotency key if one is given."""
        headers = {"Authorization": f"Bearer {token or self.exchange().json()['access_token']}"}
        headers |= {} if key is None else {"PayPal-Request-Id": key}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=SECONDS)

    def order(self, payment_id: str, **changes: Any) -> dict[str, Any]:
        """Create an order over 25.00 USD and return it."""
        amount = {"currency_code": "USD", "value": "25.00"}
        unit = {"amount": amount, "custom_id": payment_id}
        body = {"intent": "CAPTURE", "purchase_units": [unit]} | changes
        answer = self.call("POST", "/v2/checkout/orders", body, payment_id)
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()
        return order

    def capture(self, order: dict[str, Any], key: str | None = None) -> requests.Response:
        """Capture an order."""
        return self.call("POST", f"/v2/checkout/orders/{order['id']}/capture", {}, key)

    def certificate(self, webhook: Received) -> bytes:
        """Return the certificates by which a webhook is signed, in PEM."""
        return requests.get(webhook.headers["paypal-cert-url"], timeout=SECONDS).content

    def check(self, webhook: Received, body: bytes | None = None) -> None:
        """Raise InvalidSignature unless the webhook is signed for this account's webhook."""
        head = webhook.headers
        key = x509.load_pem_x509_certificates(self.certificate(webhook))[0].public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        crc = zlib.crc32(webhook.body if body is None else body)
        text = f"{head['paypal-transmission-id']}|{head['paypal-transmission-time']}|{self.secret}|{crc}"
        signature = base64.b64decode(head["paypal-transmission-sig"])
        key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
