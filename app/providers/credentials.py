"""Named credentials: what an adapter needs to call its provider, how each is checked, and how all are stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# The one credential of most providers, and of every provider that was stored before credentials had names.
API_KEY = "api_key"
# A key in PEM has some kilobytes.
LENGTH_MAX = 16_384
# What an HTTP header can carry, without blanks.
ONE_WORD = re.compile(r"[\x21-\x7e]+", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)


class CredentialError(ValueError):
    """A provider cannot have these credentials. The message never has a value."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One of the values by which a provider knows us.

    `help` says where an operator finds it. `form` is what `pattern`, which the whole value has to match, means. One
    that `is_secret` is asked for without an echo; all are encrypted. One that is not `is_required` may be missing.
    """

    name: str
    help: str
    is_secret: bool = True
    pattern: re.Pattern[str] = ONE_WORD
    form: str = "is one word of printable ASCII characters"
    is_required: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for a name that no variable of the environment could have."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a credential: lower-case letters, digits and underscores")

    def check(self, value: str) -> None:
        """Raise CredentialError unless `value` has the form of this credential."""
        if not value:
            raise CredentialError(f"{self.name} is empty")
        if len(value) > LENGTH_MAX or not self.pattern.fullmatch(value):
            raise CredentialError(f"{self.name} is not what it should be: it {self.form}")


def check_credentials(declared: Iterable[Credential], given: Mapping[str, str]) -> None:
    """Raise CredentialError unless `given` is what an adapter that declares `declared` needs."""
    known = {credential.name: credential for credential in declared}
    if given.keys() - known.keys():
        raise CredentialError(f"a name is unknown: this adapter has {', '.join(known)}")
    missing = [one for one in known.values() if one.is_required and one.name not in given]
    if missing:
        raise CredentialError("; ".join(f"{one.name} is missing: {one.help}" for one in missing))
    for name, value in given.items():
        known[name].check(value)


def encode_credentials(credentials: Mapping[str, str]) -> str:
    """Return the text that is encrypted and stored."""
    return json.dumps(dict(credentials), sort_keys=True, separators=(",", ":"))


def decode_credentials(stored: str) -> dict[str, str]:
    """Return the credentials of a stored text. A text that is no object is an API key, stored before 0.3."""
    try:
        values = json.loads(stored)
    except (ValueError, RecursionError):
        return {API_KEY: stored}
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        return {API_KEY: stored}
    return values
