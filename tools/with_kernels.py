"""Run pytest with another build of the kernels: ``python tools/with_kernels.py BUILD PYTEST_ARGUMENTS``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import goodinit


def main(build: str, arguments: list[str]) -> int:
    """Put the module in the build folder in the place of the installed one, then test."""
    (path,) = Path(build).glob("_kernels*.so")
    spec = importlib.util.spec_from_file_location("goodinit._kernels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["goodinit._kernels"] = module
    setattr(goodinit, "_kernels", module)  # noqa: B010  (an attribute that the package does not declare)
    print(f"kernels: {path}")
    return int(pytest.main(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
