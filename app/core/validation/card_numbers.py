"""Find payment card numbers in text by issuer prefix, length and check digit, with any dividers between the digits.

An IMEI, a time stamp, a phone number or an order number is none unless prefix, length and check digit are a card's.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence

_UP_TO_19 = (16, 17, 18, 19)
# The ranges of prefixes that issuers use, and the lengths of their numbers (ISO/IEC 7812).
_ISSUERS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("4", (13, 16, 19)),  # Visa
    ("51-55 2221-2720", (16,)),  # Mastercard, the latter since 2017
    ("34 37", (15,)),  # American Express
    ("6011 644-649 65", _UP_TO_19),  # Discover, RuPay
    ("3528-3589", _UP_TO_19),  # JCB
    ("300-305 38-39", (14, *_UP_TO_19)),  # Diners Club
    ("36", (14, 15, *_UP_TO_19)),  # Diners Club
    ("62", _UP_TO_19),  # UnionPay
    ("5018 5020 5038 5893 6304 6759 6761-6763", (13, 14, 15, *_UP_TO_19)),  # Maestro
    ("2200-2204", _UP_TO_19),  # Mir
    ("5060-5061", (16, 19)),  # Verve
    ("9792", (16,)),  # Troy
)
# First and last prefix of each range, with the lengths.
_RANGES = tuple(
    (int(prefix.partition("-")[0]), int(prefix.rpartition("-")[2]), lengths)
    for prefixes, lengths in _ISSUERS
    for prefix in prefixes.split()
)
_LENGTHS = (13, 19)

# The groups in which people write numbers of these lengths: four by four, and those of American Express and Diners.
_GROUPINGS = (
    *((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (4, 4, 4, 2), (4, 4, 4, 3)),
    *((4, 4, 4, 4, 1), (4, 4, 4, 4, 2), (4, 4, 4, 4, 3)),
)
_GROUP_SIZE_FIRST = 4
# " - " between two groups is the longest divider that people write.
_DIVIDER_LENGTH_MAX = 3
# E.164: a number with a plus in front and no more digits than this is a telephone's.
_PHONE_DIGITS_MAX = 15

# Ids whose digits are never a card's; an IBAN has a check of its own.
_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])")
_IBAN = re.compile(
    r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,4})?(?![0-9A-Za-z])", re.ASCII
)
# A cheap first test: thirteen digits with at most a divider between each two.
_CANDIDATE = re.compile(r"[0-9](?:[^0-9A-Za-z]{0,3}[0-9]){12}")
_DIGITS = re.compile(r"[0-9]+")
_WORD = re.compile(r"[0-9A-Za-z]+")
_WORD_END = re.compile(r"[0-9A-Za-z]+$")
# A SHA-512 in hexadecimal digits; it bounds the time that one long word takes.
_ID_LENGTH_MAX = 128
# Zero-width blanks and joiners, soft hyphens, marks that combine with the character before: not visible.
_INVISIBLE = frozenset({"Cf", "Mn", "Me"})


def has_card(text: str) -> bool:
    """Return whether `text` has a payment card number in it."""
    return next(find_cards(text), None) is not None


def find_cards(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where each card number in `text` begins and end, and its digits; none overlaps another."""
    places: Sequence[int]
    if text.isascii():
        plain, places = text, range(len(text))
    else:
        places = [place for place, one in enumerate(text) if unicodedata.category(one) not in _INVISIBLE]
        plain = "".join(_to_ascii(text[place]) for place in places)
    if not _CANDIDATE.search(plain):
        return
    plain = _IBAN.sub(_blank_iban, _UUID.sub(_blank, plain))
    done = 0
    for chain in _chains(plain):
        for first, last in sorted(_windows(chain, plain), key=lambda window: (window[0], -window[1])):
            start, end = chain[first].start(), chain[last].end()
            digits = "".join(group.group() for group in chain[first : last + 1])
            if start >= done and _is_card(digits) and not _is_phone(plain, start, digits):
                done = end
                yield places[start], places[end - 1] + 1, digits


def _to_ascii(character: str) -> str:
    """Return a digit of any script as 0 to 9, another letter as x, and all else as a divider."""
    if character.isascii():
        return character
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    if character.isalpha():
        return "x"
    return "-" if unicodedata.category(character) == "Pd" else " " if character.isspace() else "."


def _blank(match: re.Match[str]) -> str:
    return "x" * len(match.group())


def _blank_iban(match: re.Match[str]) -> str:
    compact = match.group().replace(" ", "")
    # ISO 13616: letters count from 10, the first four characters go to the end, and 97 leaves a rest of one.
    number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return _blank(match) if int(number) % 97 == 1 else match.group()


def _chains(plain: str) -> Iterator[list[re.Match[str]]]:
    """Yield groups of digits that only dividers part, as lists."""
    chain: list[re.Match[str]] = []
    for group in _DIGITS.finditer(plain):
        between = plain[chain[-1].end() : group.start()] if chain else ""
        if chain and (len(between) > _DIVIDER_LENGTH_MAX or any(letter.isalnum() for letter in between)):
            yield chain
            chain = []
        chain.append(group)
    if chain:
        yield chain


def _windows(chain: list[re.Match[str]], plain: str) -> Iterator[tuple[int, int]]:
    """Yield the first and last group of each possible number.

    That is a group by itself, groups of the sizes that people write, or all groups that one divider parts.
    """
    sizes = [len(group.group()) for group in chain]
    for first, size in enumerate(sizes):
        if _LENGTHS[0] <= size <= _LENGTHS[1] and not _is_part_of_an_id(plain, chain[first]):
            yield first, first
        if size == _GROUP_SIZE_FIRST:
            for grouping in _GROUPINGS:
                if tuple(sizes[first : first + len(grouping)]) == grouping:
                    yield first, first + len(grouping) - 1
    dividers = [plain[left.end() : right.start()] for left, right in itertools.pairwise(chain)]
    first = 0
    for _, same in itertools.groupby(dividers):
        last = first + sum(1 for _ in same)
        if _LENGTHS[0] <= sum(sizes[first : last + 1]) <= _LENGTHS[1]:
            yield first, last
        first = last


def _is_part_of_an_id(plain: str, group: re.Match[str]) -> bool:
    """Return whether digits stand in a word such as `7f4242424242424242a1`, in which letters and digits alternate."""
    before = _WORD_END.search(plain, max(group.start() - _ID_LENGTH_MAX, 0), group.start())
    after = _WORD.match(plain, group.end(), group.end() + _ID_LENGTH_MAX)
    around = (before.group() if before else "") + (after.group() if after else "")
    return any(character.isdigit() for character in around)


def _is_card(digits: str) -> bool:
    length = len(digits)
    return any(
        length in lengths and low <= int(digits[: len(str(low))]) <= high for low, high, lengths in _RANGES
    ) and _passes_luhn(digits)


def _is_phone(plain: str, start: int, digits: str) -> bool:
    return len(digits) <= _PHONE_DIGITS_MAX and plain[max(start - 1, 0) : start] == "+"


def _passes_luhn(digits: str) -> bool:
    total = 0
    for index, character in enumerate(reversed(digits)):
        digit = int(character)
        if index % 2:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0
