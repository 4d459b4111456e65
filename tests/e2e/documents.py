"""Documents as scripts: their shell blocks run in order on a running stack, with the outputs that they show compared.

A `sh` block runs. A block without a language, or of JSON, right after it is what it prints, where `...` stands for
any text (doctest's ELLIPSIS). A `python` block is the file that its first line names in a comment.
"""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.local.spawn import reserve_ports
from tests.support.repository import ROOT
from tests.support.supervised_stack import SLUICE, SupervisedStack

# Some commands that start an interpreter each, and a deposit or two, on a busy machine.
DOCUMENT_SECONDS = 90
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# ([\w.]+)\n")
# Printed between the blocks of a script: separates their outputs.
_BORDER = "\x1e"


@dataclass
class _Step:
    """A shell block and the output that the document shows for it, None where it shows none."""

    script: str
    expected: str | None = None


class Document:
    """A page of docs/, or one section of it."""

    def __init__(self, page: str, section: str | None = None) -> None:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        if section is not None:
            text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
        self._files: dict[str, str] = {}
        self._steps: list[_Step] = []
        before = ""
        for language, content in _BLOCK.findall(text):
            self._add(language, content, before)
            before = language
        assert self._steps, f"{page} has nothing that runs"

    def _add(self, language: str, content: str, before: str) -> None:
        if language == "sh":
            self._steps.append(_Step(content))
        elif language == "python":
            name = _FILE_NAME.match(content)
            assert name, f"the first line names no file:\n{content}"
            self._files[name[1]] = content
        elif language in ("", "json"):
            assert before == "sh", f"no command stands before this output:\n{content}"
            self._steps[-1].expected = content

    def run(self, stack: SupervisedStack, folder: Path) -> None:
        """Run the blocks in one shell in `folder`; fail where a command fails or prints something else."""
        for name, content in self._files.items():
            (folder / name).write_text(content, encoding="utf-8")
        script = folder / "document.sh"
        script.write_text(f"printf '{_BORDER}'\n".join(step.script for step in self._steps), encoding="utf-8")
        code, printed, errors = _run_shell(script, stack)
        logs = "".join(f"\n{log.name}:\n{log.read_text(encoding='utf-8')}" for log in sorted(folder.glob("*.log")))
        transcript = f"{printed.replace(_BORDER, '')}\nErrors:\n{errors}{logs}"
        assert code == 0, f"exit code {code}, None after {DOCUMENT_SECONDS} s:\n{transcript}"
        for step, got in zip(self._steps, printed.split(_BORDER), strict=True):
            _compare(step, got, transcript)


def _run_shell(script: Path, stack: SupervisedStack) -> tuple[int | None, str, str]:
    """Run the script and end what it leaves; return the exit code, None where time ran out, its output and errors."""
    path = f"{SLUICE.parent}:{stack.environment['PATH']}"
    environment = stack.environment | {"PATH": path, "HOOK_PORT": str(reserve_ports(1)[0])}
    printed, errors = script.with_suffix(".out"), script.with_suffix(".err")
    # Files, since a process that is left would hold a pipe open.
    with printed.open("wb") as output, errors.open("wb") as error_output:
        shell = subprocess.Popen(
            ["bash", "-e", str(script)],
            cwd=script.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=error_output,
            start_new_session=True,
        )
        try:
            code: int | None = shell.wait(DOCUMENT_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    return code, printed.read_text(encoding="utf-8"), errors.read_text(encoding="utf-8")


def _compare(step: _Step, got: str, transcript: str) -> None:
    if step.expected is None:
        return
    checker = doctest.OutputChecker()
    # Tables are padded, headers end with a carriage return, and an answer's JSON has no line feed.
    got = "".join(f"{line.rstrip()}\n" for line in got.splitlines())
    example = doctest.Example(step.script, step.expected)
    same = checker.check_output(step.expected, got, doctest.ELLIPSIS)
    assert same, f"{checker.output_difference(example, got, doctest.ELLIPSIS)}\nAll of it:\n{transcript}"
