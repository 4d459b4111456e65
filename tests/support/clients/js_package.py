"""The JavaScript client as its package, and scripts that use it in Node."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.programs import find_program
from tests.support.repository import ROOT

SOURCE = ROOT / "clients" / "js"
# A script starts within a second; on a busy machine its calls may take longer.
SCRIPT_SECONDS = 60.0


@dataclass(frozen=True)
class JsPackage:
    """The package as it is published, put together in `folder`."""

    folder: Path

    @classmethod
    def build(cls, folder: Path) -> JsPackage:
        """Put the package together in a folder."""
        _run_node([str(SOURCE / "build.js"), str(folder)], folder.parent, "")
        return cls(folder)

    def run(self, script: str, **given: Any) -> Any:
        """Return what the script returns; it sees `given` by name, and all that server.js exports as `sluice`."""
        program = f"""
            import * as sluice from './server.js';
            const {{ {", ".join(given)} }} = {json.dumps(given)};
            const result = await (async () => {{ {script} }})();
            process.stdout.write(JSON.stringify(result ?? null));
        """
        return json.loads(_run_node(["--input-type=module", "-"], self.folder, program))


def _run_node(words: list[str], folder: Path, text: str) -> str:
    node = find_program("nodejs", "node", "nodejs")
    done = subprocess.run(
        [node, *words], cwd=folder, input=text, capture_output=True, text=True, timeout=SCRIPT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
