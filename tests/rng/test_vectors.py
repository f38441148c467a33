"""The known answers in tests/vectors, which every back end must reproduce bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from goodinit.rng import (
    ALGORITHM,
    Region,
    derive_key,
    fill_normal_,
    fill_truncated_normal_,
    fill_uniform_,
    words,
)
from goodinit.rng.elementary import DOUBLE, SINGLE, Precision
from goodinit.rng.laws import standard_normal
from goodinit.rng.truncated import standard_values, truncate

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
FILLS = {"uniform": fill_uniform_, "normal": fill_normal_, "truncated_normal": fill_truncated_normal_}
DTYPES = {
    "float32": (torch.float32, torch.int32, 8),
    "float64": (torch.float64, torch.int64, 16),
    "bfloat16": (torch.bfloat16, torch.int16, 4),
    "float16": (torch.float16, torch.int16, 4),
}
PRECISIONS = {"float32": SINGLE, "float64": DOUBLE}


def load(name: str) -> Any:
    file = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))
    assert file["algorithm"] == ALGORITHM
    return file["content"]


def bits(tensor: torch.Tensor, dtype: str) -> list[str]:
    _, integer, digits = DTYPES[dtype]
    return [f"{value & (16**digits - 1):0{digits}x}" for value in tensor.view(integer).tolist()]


def unhex(numbers: list[str], precision: Precision = DOUBLE) -> np.ndarray:
    return np.array([int(number, 16) for number in numbers], precision.unsigned)


def test_keys_are_as_recorded() -> None:
    cases = load("addresses")["keys"]
    assert len(cases) == 15
    for case in cases:
        assert hex(derive_key(case["seed"], case["name"])) == case["key"]


def test_words_are_as_recorded() -> None:
    for case in load("addresses")["words"]:
        found = words(int(case["key"], 16), unhex(case["index"]), case["draw"], case["stream"])
        assert [f"{word:08x}" for word in found.tolist()] == case["words"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", FILLS)
def test_fills_are_as_recorded(law: str, dtype: str) -> None:
    cases = [case for case in load("fills") if case["law"] == law and case["dtype"] == dtype]
    assert len(cases) >= 5
    for case in cases:
        count = len(case["values"])
        region = Region((2**64,), (int(case["start"], 16),), (count,))
        parameters = [float(number) for number in case["parameters"]]
        tensor = torch.empty(count, dtype=DTYPES[dtype][0])
        FILLS[law](tensor, int(case["key"], 16), *parameters, region=region, stream=case["stream"])
        assert bits(tensor, dtype) == case["values"], case


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_normal_pairs_of_edge_integers_are_as_recorded(dtype: str) -> None:
    case, precision = load("arithmetic")[f"normal_{dtype}"], PRECISIONS[dtype]
    pair = standard_normal(unhex(case["even"], precision), unhex(case["odd"], precision), precision)
    for found, name in zip(pair, ("first", "second"), strict=True):
        assert bits(torch.from_numpy(found), dtype) == case[name]


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_quantiles_of_edge_integers_are_as_recorded(dtype: str) -> None:
    precision = PRECISIONS[dtype]
    cases = [case for name, case in load("arithmetic").items() if name.startswith(f"quantile_{dtype}")]
    assert len(cases) == 6
    for case in cases:
        cut = truncate(0.0, 1.0, float(case["low"]), float(case["high"]), 32 if precision is SINGLE else 53)
        z = standard_values(unhex(case["integers"], precision), cut, precision)
        assert bits(torch.from_numpy(z), dtype) == case["values"]


def test_the_files_stay_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) < 200_000
