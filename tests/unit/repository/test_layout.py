"""The layout stays readable: small folders, small files, one meaning for each name of a class or file."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from pathlib import Path

from tests.support.repository import ROOT
from tests.unit.repository.project_files import list_files

FILES_MAX = 16
LINES_MAX = 300
# In so many folders a file name may stand; `__init__.py` stands in all.
ROOMS_MAX = 3
PRODUCT = ("app", "models", "tasks", "sandbox", "bench", "testbed")


def list_python() -> list[Path]:
    """Return the paths of all Python files from the root of the repository."""
    return sorted(Path(name) for name in list_files() if name.endswith(".py"))


def test_folders_have_few_files() -> None:
    counts = Counter(path.parent for path in list_python())
    assert {str(folder): count for folder, count in counts.items() if count > FILES_MAX} == {}


def test_files_are_short() -> None:
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in list_python()}
    assert {path: length for path, length in lengths.items() if length > LINES_MAX} == {}


def test_a_file_name_stands_in_few_folders() -> None:
    names = Counter(path.name for path in list_python() if path.parts[0] in PRODUCT)
    del names["__init__.py"]
    assert {name: count for name, count in names.items() if count > ROOMS_MAX} == {}


def test_no_class_name_stands_twice() -> None:
    places = defaultdict(list)
    for path in list_python():
        if path.parts[0] in PRODUCT:
            for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_application_has_no_file_outside_its_rooms() -> None:
    assert [path.name for path in list_python() if path.parent == Path("app")] == ["__init__.py"]
