"""The project's files: what they are called, what their comments and docstrings say, and which names modules define."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.repository import ROOT

# Describes earlier versions, so that the checks do not apply to it.
HISTORY = "CHANGELOG.md"

# Names by name, with what a class defines; ANY stands for names whose content is not checked.
Names = dict[str, "Names"]
ANY = "*"


class Passage(NamedTuple):
    """A text of one file: a document, a comment, a docstring. `line` is where it begins, from 1."""

    path: str
    line: int
    text: str


class Module(NamedTuple):
    """A Python file: its docstrings and the names that it defines."""

    docstrings: list[Passage]
    names: Names


@cache
def list_files() -> frozenset[str]:
    """Return the project's files relative to its root, also those that are not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return frozenset(name for name in listed.split("\0") if name and (ROOT / name).is_file())


@cache
def list_packages() -> frozenset[str]:
    """Return the names that the project's own modules begin with."""
    return frozenset(name.split("/")[0].removesuffix(".py") for name in list_files() if name.endswith(".py"))


@cache
def _by_ending() -> dict[str, list[str]]:
    folders = {f"{folder}/" for name in list_files() for folder in Path(name).parents if folder.name}
    found: dict[str, list[str]] = {}
    for path in list_files() | folders:
        for start in (0, *(each.end() for each in re.finditer("/", path.rstrip("/")))):
            found.setdefault(path[start:], []).append(path)
    return found


def find_files(name: str) -> list[str]:
    """Return the files and folders whose path ends with `name`; folders end with a slash, * stands for anything."""
    name = name.removeprefix("./").replace("**/", "*")
    if "*" not in name:
        return _by_ending().get(name, [])
    return [path for path in list_files() if fnmatch(f"/{path}", f"*/{name}")]


def read(path: str) -> str:
    """Return the text of a file of the project."""
    return (ROOT / path).read_text(encoding="utf-8")


def list_headings(document: str) -> list[str]:
    """Return the headings of a Markdown document, without their level."""
    return re.findall(r"^#+ (.+)$", read(document), re.MULTILINE)


def list_passages() -> Iterator[Passage]:
    """Yield the docstrings and comments of code and of SQL, and all other texts as a whole."""
    for path in sorted(list_files() - {HISTORY}):
        if path.endswith(".py"):
            yield from outline(path).docstrings
            yield from _comments(path, "#")
        elif path.endswith(".sql"):
            yield from _comments(path, "--")
        elif path.endswith((".md", ".sh", ".yml", ".yaml", ".cfg")) or not Path(path).suffix:
            yield Passage(path, 1, read(path))


def _comments(path: str, mark: str) -> Iterator[Passage]:
    """Yield a file's comments; consecutive lines are one passage."""
    comment = re.compile(rf"(?:^\s*|  ){mark} ?(.*)$")
    first, lines = 0, list[str]()
    for number, line in enumerate([*read(path).splitlines(), ""], 1):
        if found := comment.search(line):
            first = first if lines else number
            lines.append(found[1])
        elif lines:
            yield Passage(path, first, "\n".join(lines))
            lines = []


@cache
def outline(path: str) -> Module:
    """Return what a Python file of the project says and defines."""
    tree = ast.parse(read(path))
    return Module(list(_docstrings(path, tree.body)), _names(tree.body))


def _docstrings(path: str, body: list[ast.stmt]) -> Iterator[Passage]:
    for node in body:
        match node:
            case ast.Expr(ast.Constant(str(text))):
                yield Passage(path, node.lineno, text)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield from _docstrings(path, node.body)


def _names(body: list[ast.stmt]) -> Names:
    """Return the names that statements bind. A class with bases may have any other attribute as well."""
    names: Names = {}
    for node in body:
        match node:
            case ast.ClassDef(name=name):
                names[name] = _names(node.body) | ({ANY: {}} if node.bases else {})
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names[name] = {ANY: {}}
            case ast.Import(aliases) | ast.ImportFrom(names=aliases):
                names |= {bound: {ANY: {}} for alias in aliases for bound in _bound(alias)}
            case ast.Assign() | ast.AnnAssign() | ast.If() | ast.Try() | ast.With():
                names |= {bound: {ANY: {}} for each in ast.walk(node) for bound in _bound(each)}
    return names


def _bound(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(name, ast.Store()) | ast.FunctionDef(name=name):
            return [name]
        case ast.alias():
            return [node.asname or node.name]
    return []
