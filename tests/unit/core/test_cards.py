"""Card numbers are found however they are written; what is no card number is left as it is."""

from __future__ import annotations

import random
import time
import uuid

import pytest

from app.core.redaction import mask_cards, redact
from app.core.validation.card_numbers import find_cards, has_card

VISA = "4242424242424242"
# A number of each issuer and length, with the right check digit.
CARDS = {
    "visa": VISA,
    "visa of 13": "4222222222222",
    "visa of 19": "4000000000000000006",
    "mastercard": "5555555555554444",
    "mastercard 2": "2223003122003222",
    "american express": "378282246310005",
    "american express 34": "343434343434343",
    "discover": "6011111111111117",
    "discover 65": "6510000000000018",
    "jcb": "3566002020360505",
    "diners": "30569309025904",
    "diners 36": "36227206271667",
    "diners 38": "38520000023237",
    "diners of 16": "3056930009020004",
    "unionpay": "6200000000000005",
    "unionpay of 19": "6205500000000000004",
    "maestro": "6759649826438453",
}


def grouped(divider: str, digits: str = VISA, size: int = 4) -> str:
    return divider.join(digits[start : start + size] for start in range(0, len(digits), size))


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_number_of_each_issuer_is_found_and_masked(card: str) -> None:
    assert [digits for _, _, digits in find_cards(card)] == [card]
    assert mask_cards(f"a {card}, b") == f"a [card ...{card[-4:]}], b"
    wrong = card[:-1] + str((int(card[-1]) + 1) % 10)
    assert mask_cards(wrong) == wrong


@pytest.mark.parametrize(
    "divider",
    [
        *(" ", "-", ".", "_", "/", "\\", ":", ",", "|", "*", "+", "~", "'", "  ", " - ", " . ", "\t", "\n"),
        *("\u00a0", "\u2009", "\u2011", "\u2013", "\u2014", "\u00b7", "\u2022", "\u200b", "\u00ad", "\u2060", "\ufeff"),
    ],
)
def test_whatever_stands_between_the_digits(divider: str) -> None:
    for size in (4, 2, 1):
        assert mask_cards(f"card {grouped(divider, size=size)}.") == "card [card ...4242]."


@pytest.mark.parametrize(
    "text",
    [
        f"my card is {VISA}!",
        f"card:{VISA}",
        f"pan={VISA}&cvc=123",
        f"order-{VISA}",
        f"order_{VISA}_a",
        f"x{VISA}",
        f"{VISA}abc",
        f"({grouped(' ')})",
        f"{grouped(' ')} 12/27 123",
        f"25.00 {grouped(' ')}",
        f"25.00 {VISA}",
        f"12 {grouped('-')} 34",
        "3782 822463 10005",
        "3782-822463-10005",
        "3056-930902-5904",
        "4242-4242 4242.4242",
        "".join(chr(ord(digit) - ord("0") + 0xFF10) for digit in VISA),
        "".join(chr(ord(digit) - ord("0") + 0x0660) for digit in VISA),
        "".join(chr(ord(digit) - ord("0") + 0x1D7CE) for digit in VISA),
        "".join(f"{digit}\ufe0f\u20e3" for digit in VISA),
        f"naïve {grouped(' ')}",
        f"+{VISA}",
    ],
)
def test_a_number_in_a_text_is_found(text: str) -> None:
    assert has_card(text)


def test_each_of_several_numbers_is_masked_and_nothing_else() -> None:
    text = f"é {VISA}, then {grouped(' ', CARDS['mastercard'])}; ref 1700000000000000000"
    assert mask_cards(text) == "é [card ...4242], then [card ...4444]; ref 1700000000000000000"
    assert mask_cards(f"{VISA}-{CARDS['mastercard']}") == "[card ...4242]-[card ...4444]"


def with_check_digit(digits: str) -> str:
    """Return `digits` and the digit that makes them pass Luhn's test."""
    doubled = [int(digit) * (2 if index % 2 == 0 else 1) for index, digit in enumerate(reversed(digits))]
    return digits + str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def test_no_imei_is_a_card() -> None:
    chosen = random.Random(7)
    for _ in range(2_000):
        imei = with_check_digit(chosen.choice(["35", "86", "01", "99", "49"]) + f"{chosen.randrange(10**12):012}")
        assert len(imei) == 15
        assert not has_card(imei)
        assert not has_card(f"{imei[:2]}-{imei[2:8]}-{imei[8:14]}-{imei[14]}")


def test_few_random_numbers_of_sixteen_digits_pass_as_cards() -> None:
    chosen = random.Random(7)
    found = sum(has_card(str(chosen.randrange(10**15, 10**16))) for _ in range(5_000))
    # A quarter of them has a card's prefix, and a tenth of those the right check digit.
    assert found < 0.035 * 5_000


@pytest.mark.parametrize(
    "text",
    [
        "4242424242424241",
        "1234567890",
        "1234567890123456",
        "25.00",
        "2026-01-31T12:00:00.000000Z",
        "2026-11-27 14:51:30.123456 +00:00",
        "1764255330123",
        "1764255330123456",
        "1700000000000000000",
        "+4915112345674",
        "+49 151 1234 5674",
        "+1 (415) 555-2671",
        "415-555-2671 415-555-2672",
        "ORD-20261127-145530-0042",
        "2026-1127-4455-3012",
        "192.168.100.100:51008",
        "DE89 3704 0044 0532 0130 00",
        "FI2112345600000785",
        f"0{VISA}",
        f"{VISA}0",
        f"7f{VISA}a1",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "51.5073509,-0.1277583",
    ],
)
def test_what_is_no_card_number_stays(text: str) -> None:
    assert mask_cards(text) == text
    assert redact(text) == text


def test_no_uuid_is_a_card() -> None:
    assert not has_card("42424242-4242-4242-8242-424242424242")
    assert not has_card(f"payment 12345678-{VISA[:4]}-{VISA[:4]}-{VISA[:4]}-{VISA[:12]} failed")
    assert not any(has_card(str(uuid.uuid4())) or has_card(uuid.uuid4().hex) for _ in range(2_000))


@pytest.mark.parametrize("part", ["4 4-", "1 ", "4242 ", "4.4-", "12345678901234567 ", "1234567890123a", "é1 ", "4"])
def test_a_hostile_text_takes_no_time(part: str) -> None:
    text = part * (30_000 // len(part))
    started = time.process_time()
    has_card(text)
    assert time.process_time() - started < 2.0
