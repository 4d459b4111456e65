"""Finds what comments, docstrings and documents cite, and which of it is not there.

Cited are files, folders and tests, Markdown links and headings, modules and what they define, sections of the contract,
invariants, decision records, targets of the Makefile, and commands of `sluice` with their options. A path may leave out
its first folders: `unit/repository/citations.py` is this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click

from app.cli import main as command_line
from models import METADATA
from tasks import TASKS
from tests.support.repository import ROOT
from tests.unit.repository.project_files import (
    ANY,
    Names,
    Passage,
    find_files,
    list_files,
    list_headings,
    list_packages,
    outline,
    read,
)

# What has the form of a citation and is none.
SETTINGS = ("app.tenant",)  # of PostgreSQL: what row-level security reads
OUTPUT = ("ready", "stopped")  # lines that `sluice up` prints

_ENDINGS = "py|md|sql|ya?ml|toml|cfg|sh|css|html|js|in|svg|png|mako"
_FILE = re.compile(rf"(?<![\w/.:$<{{@-])(?!\.\./)((?:[\w.*-]+/)*[\w*-]+\.(?:{_ENDINGS}))\b(?!\.?\w)(?:::(\w+))?")
_FOLDER = re.compile(r"`((?:[\w.-]+/)+)`")
_URL = re.compile(r"[a-z]+://\S+")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_DOTTED = re.compile(r"(?<![\w./@-])([a-z]\w*(?:\.[A-Za-z_]\w*)+)(?![\w/])")
_SHORT = re.compile(rf"`(\w+)\.(?!(?:json|{_ENDINGS})`)(\w+)(?:\(\))?`")
_SECTION = re.compile(r"\b([A-Z]{4,})\s+(?:sections?\s+([0-9.]+(?:,?\s+(?:and\s+)?[0-9.]+)*)|I[0-9])")
_TITLE = re.compile(r'\b(?:([\w/-]+\.md)|([A-Z]{4,})\s+section\s+[0-9.]+),\s+"([^"]+)"')
_INVARIANT = re.compile(r"(?<![\w.])(I[0-9]{1,2})(?![\w.]*\w)")
_DECISION = re.compile(r"\b(?:ADR|decision(?:\s+record)?)[ -]([0-9]+)\b", re.IGNORECASE)
_CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`]+)`", re.MULTILINE | re.DOTALL)
# A file that a guide has its reader save: the first line of a block names it.
_SAVED = re.compile(r"^```python\n# ([\w.]+)$", re.MULTILINE)
_MAKE = re.compile(r"(?:^|[\s(;&|])make ([a-z]+)", re.MULTILINE)
_SLUICE = re.compile(r"(?:^|[\s(;&|/])sluice((?: +[^\s;)#&<>]+)+)", re.MULTILINE)


Kinds = dict[re.Pattern[str], Callable[..., bool]]


class Unresolved(NamedTuple):
    """A citation of something that is not there."""

    path: str
    line: int
    cited: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.cited}"


def find_unresolved(passage: Passage) -> Iterator[Unresolved]:
    """Yield the citations in a passage that do not resolve."""
    # URLs are not checked; a filler of the same length keeps the offsets.
    text = _URL.sub(lambda url: "\0" * len(url.group()), passage.text)
    saved = set(_SAVED.findall(text))
    for start, cited in (*_find_in(text, _KINDS), *_find_in_code(text), *_find_links(passage.path, text)):
        if cited not in saved:
            yield Unresolved(passage.path, passage.line + text.count("\n", 0, start), " ".join(cited.split()))


def _find_in(text: str, kinds: Kinds) -> Iterator[tuple[int, str]]:
    for pattern, is_there in kinds.items():
        for found in pattern.finditer(text):
            if not is_there(*found.groups()):
                yield found.end() - len(found[0].lstrip()), found[0]


def _find_in_code(text: str) -> Iterator[tuple[int, str]]:
    """Yield the unresolved citations in fenced blocks and between backticks."""
    for code in _CODE.finditer(text):
        inner = code[code.lastindex or 0].replace("\\\n", "  ")
        for start, cited in _find_in(inner, {_MAKE: has_target_of_make, _SLUICE: has_command}):
            yield code.start(code.lastindex or 0) + start, cited


def _find_links(path: str, text: str) -> Iterator[tuple[int, str]]:
    for found in _LINK.finditer(text) if path.endswith(".md") else ():
        if not has_link(path, found[1]):
            yield found.start(), found[0]


def has_file(name: str, function: str | None = None) -> bool:
    """Return whether a path ends with `name`, and the file defines the test `function` where one is named."""
    return any(function is None or f"def {function}(" in read(path) for path in find_files(name))


def has_link(document: str, target: str) -> bool:
    """Return whether a Markdown link leads somewhere: a path from the document's folder, and a heading there."""
    if target.startswith(("\0", "mailto:")):
        return True
    name, _, anchor = target.partition("#")
    path = (ROOT / document).parent / name if name else ROOT / document
    return path.exists() and (not anchor or anchor in map(_slug, list_headings(str(path))))


def _slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def has_dotted(dotted: str) -> bool:
    """Return whether a dotted name is a module of the project or defined by one; names of other packages pass."""
    names = dotted.split(".")
    if names[0] not in list_packages() or dotted in {*SETTINGS, *TASKS} or find_files(dotted):
        return True
    for length in range(len(names), 0, -1):
        folder = "/".join(names[:length])
        for module in {f"{folder}.py", f"{folder}/__init__.py"} & list_files():
            return _defines(outline(module).names, names[length:])
    return bool(find_files(f"{'/'.join(names)}/"))


def has_short(owner: str, name: str) -> bool:
    """Return whether a module, class or table of the project called `owner` has `name`; what is not ours passes."""
    known = [] if owner in list_packages() else _owners().get(owner, [])
    if f'"{owner}.{name}"' in _strings():
        return True
    in_folder = find_files(f"{owner}/{name}.py") or find_files(f"{owner}/{name}/")
    return not known or bool(in_folder) or any(_defines(names, [name]) for names in known)


@cache
def _strings() -> frozenset[str]:
    """Return the quoted names with a dot in the code: types of events are called like attributes."""
    return frozenset(
        quoted
        for path in list_files()
        if path.endswith(".py")
        for quoted in re.findall(r'"[a-z_]+\.[a-z_]+"', read(path))
    )


@cache
def _owners() -> dict[str, list[Names]]:
    found: dict[str, list[Names]] = {}
    for path in list_files():
        if path.endswith(".py"):
            module, stem = outline(path), Path(path.removesuffix("/__init__.py")).stem
            found.setdefault(stem, []).append(module.names)
            for name, names in module.names.items():
                if ANY not in names:
                    found.setdefault(name, []).append(names)
                    # The name of a module may stand for an object of its class.
                    found[stem].append(names)
    for table in METADATA.tables.values():
        found.setdefault(table.name, []).append({column.name: {} for column in table.c})
    return found


def _defines(names: Names, path: list[str]) -> bool:
    return not path or (ANY in names if path[0] not in names else _defines(names[path[0]], path[1:]))


def has_sections(document: str, numbers: str | None) -> bool:
    """Return whether docs/<document>.md has the sections, such as "2, 3 and 5"; None is a form that no document has."""
    return numbers is not None and all(
        _has_heading(f"docs/{document}.md", rf"{number.strip('.')}\.? ") for number in re.findall(r"[0-9.]+", numbers)
    )


def has_title(path: str | None, document: str | None, title: str) -> bool:
    """Return whether the document has a heading with this title, numbered or not."""
    wanted = re.escape(" ".join(title.split()))
    return any(_has_heading(file, rf"([0-9.]+ )?{wanted}$") for file in find_files(path or f"docs/{document}.md"))


def has_invariant(name: str) -> bool:
    """Return whether docs/INVARIANTS.md has a section on it."""
    return _has_heading("docs/INVARIANTS.md", f"{name}: ")


def has_decision(number: str) -> bool:
    """Return whether there is a decision record of this number, with or without zeros in front."""
    return any(re.search(rf"/0*{int(number)}-", path) for path in find_files("docs/decisions/*.md"))


def _has_heading(document: str, pattern: str) -> bool:
    return document in list_files() and any(re.match(pattern, heading) for heading in list_headings(document))


def has_target_of_make(target: str) -> bool:
    """Return whether the Makefile has the target."""
    return re.search(rf"^{target}:", read("Makefile"), re.MULTILINE) is not None


def has_command(arguments: str) -> bool:
    """Return whether `sluice` has these commands and options; `a|b` names several, NAME stands for a value."""
    command: click.Command = command_line
    for word in (each.strip("[]") for each in arguments.split()):
        context = click.Context(command)
        if word in ("|", "...") or word.isupper():
            break
        if word.startswith("--"):
            known = {option for parameter in command.get_params(context) for option in parameter.opts}
            if not set(word.partition("=")[0].split("|")) <= known:
                return False
        elif isinstance(command, click.Group):
            found = [command.get_command(context, name) for name in word.split("|")]
            if None in found:
                return command is command_line and word in OUTPUT
            command = found[0] or command
    return True


_KINDS: Kinds = {
    _FILE: has_file,
    _FOLDER: has_file,
    _DOTTED: has_dotted,
    _SHORT: has_short,
    _SECTION: has_sections,
    _TITLE: has_title,
    _INVARIANT: has_invariant,
    _DECISION: has_decision,
}
