"""Amounts in a provider's own units, converted exactly from and to the minor units of ISO 4217."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.money import AMOUNT_MINOR_MAX, AmountError, CurrencyError, currency_digits, format_money

# By the number of digits: no currency has more than four.
_POWERS = (1, 10, 100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class AmountTable:
    """The currencies that a provider takes, each with the digits of the units in which it counts.

    `digits` need not be those of ISO 4217. `steps`: an amount to ask for is a multiple of this many of its units.
    `least`, `most`: an amount to ask for is within these, in its units; a currency without one has no such bound that
    the provider publishes and that holds for every account.
    """

    digits: Mapping[str, int]
    steps: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def by_digits(cls, whole: str, two: str, three: str, *, three_step: int = 1) -> AmountTable:
        """Return the table of currencies without digits, with two and with three, each a list with spaces between.

        `three_step` is the step of those with three.
        """
        lists = (whole.split(), 0), (two.split(), 2), (three.split(), 3)
        digits = {currency: count for currencies, count in lists for currency in currencies}
        return cls(digits, dict.fromkeys(three.split(), three_step))

    def __post_init__(self) -> None:
        """Raise CurrencyError for a currency that cannot be asked for in Sluice, ValueError for other values."""
        for currency in self.digits:
            currency_digits(currency)
        if self.steps.keys() - self.digits.keys() or min(self.steps.values(), default=1) < 1:
            raise ValueError("a step is at least 1 unit of a currency that has digits")
        if (self.least.keys() | self.most.keys()) - self.digits.keys():
            raise ValueError("a bound is of a currency that has digits")
        for currency in self.digits:
            if not 1 <= self.least.get(currency, 1) <= self.most.get(currency, AMOUNT_MINOR_MAX):
                raise ValueError(f"no amount of {currency} is within its bounds")

    @property
    def currencies(self) -> frozenset[str]:
        """The currencies that the provider takes."""
        return frozenset(self.digits)

    def to_asked_units(self, minor: int, currency: str) -> int:
        """Return the amount of a deposit in the provider's units.

        Raise CurrencyError and AmountError as `to_units` does, and AmountError for an amount out of the bounds.
        """
        units = self.to_units(minor, currency)
        least, most = self.least.get(currency, units), self.most.get(currency, units)
        if units < least:
            raise AmountError(f"must be at least {self._format(least, currency)}")
        if units > most:
            raise AmountError(f"must be at most {self._format(most, currency)}")
        return units

    def to_units(self, minor: int, currency: str) -> int:
        """Return an amount in the provider's units, which may be a part of what was asked for.

        Raise CurrencyError for a currency that the provider does not take, AmountError for an amount that it cannot.
        """
        if minor <= 0:
            raise AmountError("must be greater than zero")
        units = _rescale(minor, currency_digits(currency), self._digits_of(currency), currency)
        if units % self.steps.get(currency, 1):
            raise AmountError(f"must be a multiple of {self.steps[currency]} of the provider's units of {currency}")
        return units

    def to_minor(self, units: object, currency: str) -> int:
        """Return an amount of the provider's units, which may be zero, in minor units.

        Raise CurrencyError for a currency without known units, AmountError where `units` is no such number.
        """
        if not isinstance(units, int) or isinstance(units, bool) or units < 0:
            raise AmountError("must be a whole number, not negative")
        minor = _rescale(units, self._digits_of(currency), currency_digits(currency), currency)
        if minor > AMOUNT_MINOR_MAX:
            raise AmountError("is too large")
        return minor

    def _format(self, units: int, currency: str) -> str:
        minor = units * _POWERS[currency_digits(currency)] // _POWERS[self._digits_of(currency)]
        return format_money(minor, currency)

    def _digits_of(self, currency: str) -> int:
        try:
            return self.digits[currency]
        except KeyError:
            raise CurrencyError(f"the provider does not take {currency}") from None


def iso_table(currencies: Mapping[str, int]) -> AmountTable:
    """Return the table of a provider that counts in the minor units of ISO 4217."""
    return AmountTable(dict(currencies))


def _rescale(amount: int, have: int, want: int, currency: str) -> int:
    scaled, rest = divmod(amount * _POWERS[want], _POWERS[have])
    if rest:
        raise AmountError(f"cannot be told in {currency} with {want} decimals")
    return scaled
