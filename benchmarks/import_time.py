"""How much `import goodinit`, and the first use of its verbs, cost beyond `import torch`.

Each row is measured in fresh interpreters: CPU time (user and system) of the
statement after torch was imported, median over the repeats. The claim is under
50 ms for `import goodinit`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from _machine import save

REPEATS = 7
LIMIT_MS = 50.0
STATEMENTS = {
    "import goodinit": "import goodinit",
    "goodinit.init": "import goodinit; goodinit.init",
    "goodinit.theory": "import goodinit; goodinit.theory",
    "goodinit.initialize": "import goodinit; goodinit.initialize",
    "goodinit.check": "import goodinit; goodinit.check",
    "import numpy, scipy.special": "import numpy, scipy.special",
}
MEASURE = (
    "import sys, time, json\n"
    "start = time.process_time()\n"
    "import torch\n"
    "middle = time.process_time()\n"
    "exec(sys.argv[1])\n"
    "print(json.dumps([middle - start, time.process_time() - middle]))\n"
)


def measure(statement: str) -> tuple[float, float]:
    """Milliseconds of CPU time for `import torch`, and for the statement after it."""
    outcome = subprocess.run(
        [sys.executable, "-c", MEASURE, statement], capture_output=True, text=True, check=True
    )
    torch_s, statement_s = json.loads(outcome.stdout)
    return 1e3 * torch_s, 1e3 * statement_s


def main() -> None:
    """Measure all statements in turn, so that a busy spell touches all rows alike."""
    measure("pass")  # the first run reads the files from disk
    runs = [{name: measure(code) for name, code in STATEMENTS.items()} for _ in range(REPEATS)]
    torch_ms = statistics.median(run[name][0] for run in runs for name in STATEMENTS)
    print(f"{'statement':<30} {'ms beyond torch':>16} {'lowest':>8} {'highest':>8} {'of import torch':>16}")
    print(f"{'import torch':<30} {torch_ms:>16.1f} {'':>8} {'':>8} {1:>16.1%}")
    rows: dict[str, dict[str, float]] = {}
    for name in STATEMENTS:
        times = [run[name][1] for run in runs]
        row = {"median_ms": statistics.median(times), "lowest_ms": min(times), "highest_ms": max(times)}
        ratio = row["median_ms"] / torch_ms
        print(f"{name:<30} {row['median_ms']:>16.1f} {min(times):>8.1f} {max(times):>8.1f} {ratio:>16.1%}")
        rows[name] = row
    kept = save("import_time", {"repeats": REPEATS, "import_torch_ms": torch_ms, "beyond_torch": rows})
    print(f"claim: import goodinit under {LIMIT_MS:.0f} ms beyond import torch. Written: results/{kept.name}")


if __name__ == "__main__":
    main()
