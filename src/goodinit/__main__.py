"""``python -m goodinit`` is the command ``goodinit``."""

from __future__ import annotations

import sys

from goodinit.cli import main

if __name__ == "__main__":
    sys.exit(main())
