"""Run the demo and record what it printed, in docs/demo_output.txt, docs/demo.png and README.md.

Run it after anything that changes the demo's words; `tests/test_demo.py` fails until then.

    python tools/record_demo.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?<=## What the demo prints\n)(.*?```text\n).*?(?=```\n)", re.DOTALL)


def main() -> None:
    """Run the demo in a folder of its own, then replace the recorded copies."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "examples" / "demo.py")]
        environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
        run = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=True)
        text = "\n".join(line.rstrip() for line in run.stdout.strip("\n").splitlines()) + "\n"
        shutil.copy(Path(folder) / "out" / "demo.png", ROOT / "docs" / "demo.png")
    (ROOT / "docs" / "demo_output.txt").write_text(text, encoding="utf-8")
    readme = ROOT / "README.md"
    new, count = BLOCK.subn(lambda found: found.group(1) + text, readme.read_text(encoding="utf-8"))
    if count != 1:
        sys.exit("README.md has no ```text block under '## What the demo prints'")
    readme.write_text(new, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
