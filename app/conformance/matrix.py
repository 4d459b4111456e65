"""The page docs/PROVIDERS.md: which case of the kit applies to which adapter. `python -m app.conformance.matrix`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from app.conformance.kit import CASES, CaseState, read_capabilities, run_cases
from app.conformance.own_sandbox import start_sandbox
from app.conformance.subjects import SUBJECTS, open_at
from app.local.processes import ROOT

PAGE = ROOT / "docs" / "PROVIDERS.md"

_HEAD = """# Providers

Every adapter passes every case of the conformance kit that applies to it: `sluice adapters test NAME` runs them, and
so does the test suite for each adapter; [ADAPTERS.md](ADAPTERS.md) says how to write one. A case that does not apply
is marked with a number: the list below the table has what the adapter declares. `make matrix` runs the kit and writes
this page.

"""
SIZE_TITLE = "\n## Size\n"
_SIZES = f"""
{SIZE_TITLE}
Lines of each adapter's own code, with its events, signatures, refunds and registration; what adapters share is in
`app/providers/calls` and `app/providers`. `sandbox` has the webhook body of the common paths; `custom` adds to it.

"""
_ADAPTERS = ROOT / "app" / "providers" / "adapters"
# The sandbox's form of webhooks, which is Sluice's own.
_SANDBOX = ("sandbox.py", "common_webhook.py", "money_back.py")


def render_matrix() -> str:
    """Return the page, as it is where every case that applies passes."""
    names = sorted(SUBJECTS)
    capabilities = {name: read_capabilities(SUBJECTS[name]) for name in names}
    reasons: dict[str, int] = {}
    rows = [_row(["case", "what it asks for", *names]), _row(["---"] * (len(names) + 2))]
    for case in CASES:
        excuses = [case.excuse(capabilities[name]) for name in names]
        cells = [
            "yes" if excuse is None else f"- ({reasons.setdefault(excuse, len(reasons) + 1)})" for excuse in excuses
        ]
        rows.append(_row([f"`{case.name}`", case.sentence, *cells]))
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    cases = "\n".join([*rows, "", "Not applicable, as the adapter declares:", "", *notes])
    sizes = [_row(["adapter", "lines", "files"]), _row(["---"] * 3), *(_row(measure(name)) for name in names)]
    return _HEAD + cases + _SIZES + "\n".join(sizes) + "\n"


def measure(name: str) -> tuple[str, str, str]:
    """Return an adapter's name, the lines of its code and the number of its files."""
    folder = _ADAPTERS / name
    own = (path for path in folder.glob("*.py") if path.name != "__init__.py")
    named = _SANDBOX if name == "sandbox" else (f"{name}.py",)
    files = list(own) if folder.is_dir() else [_ADAPTERS / each for each in named]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    return name, str(lines), str(len(files))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the kit for every adapter, and write the page where all pass; exit 1 with what failed otherwise."""
    with start_sandbox() as url:
        failed = [
            f"{name} {result.case.name}: {result.detail}"
            for name in sorted(SUBJECTS)
            for result in run_cases(SUBJECTS[name], open_at(name, url))
            if result.state is CaseState.FAILED
        ]
    if failed:
        sys.exit("\n".join(failed))
    PAGE.write_text(render_matrix(), encoding="utf-8")


if __name__ == "__main__":
    main()
