"""Client of Sluice for a shop's backend: verification of webhooks."""

from sluice_client.errors import SluiceError, WebhookVerificationError
from sluice_client.models import Event
from sluice_client.webhooks import verify_webhook

__all__ = ["Event", "SluiceError", "WebhookVerificationError", "verify_webhook"]
