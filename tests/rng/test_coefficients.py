"""The kernels' coefficients are the reference's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from goodinit.rng import quantile_coefficients as reference

HEADER = (Path(__file__).resolve().parents[2] / "csrc" / "quantile_coefficients.hpp").read_text()
NAMES = [name for name in vars(reference) if name.isupper()]


def written(name: str, header: str = HEADER) -> list[float]:
    """The numbers of one array of the header, in its own precision."""
    found = re.search(rf"\b(float|double) {name.lower()}\[\] = {{([^}}]*)}}", header)
    assert found is not None, f"{name.lower()} is not in the header"
    kind = np.float32 if found[1] == "float" else np.float64
    return [float(kind(number.strip().removesuffix("f"))) for number in found[2].split(",")]


def expected(name: str) -> list[float]:
    kind = np.float32 if name.endswith("32") else np.float64
    return [float(kind(value)) for value in getattr(reference, name)]


@pytest.mark.parametrize("name", NAMES)
def test_an_array_of_the_header_is_the_references(name: str) -> None:
    assert written(name) == expected(name)


def test_a_changed_digit_is_caught() -> None:
    changed = HEADER.replace("0.35322535", "0.35322538")
    assert changed != HEADER
    assert written("CENTRE_FLOAT32", changed) != expected("CENTRE_FLOAT32")
