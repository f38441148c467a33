"""docs/lab.md is what the committed results say, and its pictures are there."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from goodinit import lab

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("lab_results", ROOT / "tools" / "lab_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_of_the_committed_results(tool: Any) -> None:
    results = json.loads(tool.DATA.read_text("utf-8"))
    assert tool.PAGE.read_text("utf-8") == tool.page(results)
    results[0]["facts"][0]["measured"]["value"] = 0.123
    assert tool.PAGE.read_text("utf-8") != tool.page(results)


def test_every_experiment_has_its_result_and_a_picture_of_less_than_500_kb(tool: Any) -> None:
    results = json.loads(tool.DATA.read_text("utf-8"))
    assert [each["name"] for each in results] == list(lab.names())
    for each in results:
        for field in ("answer", "facts", "settings"):
            assert each[field], (each["name"], field)
        size = (tool.PICTURES / f"{each['name']}.png").stat().st_size
        assert 5_000 < size < 500_000, each["name"]
