"""`import goodinit` loads one module beyond what torch has loaded: its own front door.

A stopwatch on a busy machine says little, so the test counts modules;
``benchmarks/import_time.py`` measures the milliseconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "goodinit"
COUNT = (
    "import json, sys, torch\n"
    # The hook of an editable installation would answer before the path does.
    "sys.meta_path = [f for f in sys.meta_path if 'editable' not in type(f).__module__]\n"
    "before = set(sys.modules)\n"
    "import goodinit\n"
    "print(json.dumps([goodinit.__file__, sorted(set(sys.modules) - before)]))\n"
)


def loaded_beyond_torch(source: Path) -> list[str]:
    """The modules that `import goodinit` adds after `import torch`, in a fresh interpreter."""
    outcome = subprocess.run(
        [sys.executable, "-c", COUNT],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    file, modules = json.loads(outcome.stdout)
    assert Path(file).parent.parent == source
    return list(modules)


def test_importing_goodinit_loads_nothing_else() -> None:
    assert loaded_beyond_torch(PACKAGE.parent) == ["goodinit"]


def test_a_planted_eager_import_is_caught(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "goodinit", ignore=shutil.ignore_patterns("__pycache__"))
    front_door = tmp_path / "goodinit" / "__init__.py"
    front_door.write_text(front_door.read_text() + "\nimport goodinit.records\n")
    assert {"goodinit.records", "goodinit.errors"} <= set(loaded_beyond_torch(tmp_path))
