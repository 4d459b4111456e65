"""Errors by whether money may have moved. A class docstring is the default message of its error."""

from __future__ import annotations


class SluiceError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None, **context: object) -> None:
        super().__init__(message or type(self).__doc__)
        self.context = context


class RequestRejected(SluiceError):
    """The request cannot be carried out; `code` is a stable word for callers' programs."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: list[dict[str, str]] | None = None,
        code: str | None = None,
        **context: object,
    ) -> None:
        super().__init__(message, **context)
        self.status = status
        self.code = code
        self.errors = errors or []


class WebhookRejected(SluiceError):
    """The delivery was not accepted; `reason` is for operators, `code` a stable word for the sender."""

    def __init__(self, status: int, reason: str, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.code = code


class ProviderCallFailed(SluiceError):
    """The provider could not be asked."""

    retry_after_seconds: float | None = None
    # How metrics, logs and the audit name it.
    outcome = "ProviderCallFailed"
    # Whether the provider as a whole is out of order; the call itself may be valid.
    is_outage = False


class NotSent(ProviderCallFailed):
    """The request surely did not reach the provider; it may be sent again freely."""

    outcome = "NotSent"
    is_outage = True


class Throttled(NotSent):
    """The provider did not act and asks to be called less often."""

    outcome = "Throttled"


class OutcomeUnknown(ProviderCallFailed):
    """The provider may have acted; ask again with the same key and never call it failed."""

    outcome = "OutcomeUnknown"


class Unavailable(OutcomeUnknown):
    """The provider did not answer, or answered that it is out of order; the call itself may be good."""

    is_outage = True


class UnexpectedAnswer(OutcomeUnknown):
    """The provider is there, and its answer cannot be used; `field` names what is wrong with it."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message, field=field)
        self.field = field


class OutcomeForAPerson(OutcomeUnknown):
    """The provider may have acted, and nothing that may be sent shows whether it did; a person must say."""


class ProviderRefusedUs(ProviderCallFailed):
    """The provider refuses our credentials or configuration; a person must act."""

    outcome = "ProviderRefusedUs"


class ProviderUnusable(SluiceError):
    """The provider cannot be used as it is configured; its work waits until it can."""


class Unusable(SluiceError):
    """A verified delivery that cannot be understood."""


class NotYet(SluiceError):
    """The payment that this is about is not there yet."""


class InvariantBroken(SluiceError):
    """What must hold did not; nothing was written."""
