"""Whatever a record holds, it can be shown: as a page, in a notebook, as text."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import types
import typing
from typing import Any

import pytest

from goodinit.records import CoordinateCheck, MonitorLog, Report
from goodinit.report import compact, render, to_text

# NaN, infinity, zero, the smallest and the largest: what a broken network measures.
NUMBERS = (0.0, -0.0, 1.0, 0.3, -2.5, 1e-30, 1e30, 5e-324, 1.7e308, -1.7e308, math.nan, math.inf, -math.inf)
SQUARES = ("second_moment", "mean_square", "output", "value", "gradient", "update")
COUNTS = (0, 1, 2, 7, 10**9)
NAMES = (
    "",
    "a",
    "net.0.w",
    "net.1.w",
    "input",
    "output",
    "error",
    "<b>",
    "\n",
    "é\u202e",
    "\ud800",
    "x" * 200,
)


def value(hint: Any, draw: random.Random, depth: int = 0) -> Any:
    """Any value of a type: whatever JSON could hold, unlikely or not."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        some = next(each for each in args if each is not type(None))
        return None if draw.random() < 0.25 else value(some, draw, depth)
    if origin is tuple and args[-1] is Ellipsis:
        return tuple(value(args[0], draw, depth + 1) for _ in range(draw.randrange(6 if depth else 9)))
    if origin is tuple:
        return tuple(value(each, draw, depth) for each in args)
    if origin is dict:
        return {value(args[0], draw): value(args[1], draw) for _ in range(2)}
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        made = {f.name: value(hints[f.name], draw, depth + 1) for f in dataclasses.fields(hint)}
        # Mean squares are squares; everything else may hold anything.
        squares = {k: abs(made[k]) for k in SQUARES if isinstance(made.get(k), float)}
        return hint(**{**made, **squares})
    choices: dict[Any, tuple[Any, ...]] = {float: NUMBERS, int: COUNTS, str: NAMES, bool: (True, False)}
    return draw.choice(choices[hint])


def no_constant(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def figures(page: str) -> Any:
    return json.loads(page.split('id="figures">')[1].split("</script>")[0], parse_constant=no_constant)


@pytest.mark.parametrize("block", range(4))
def test_any_report_can_be_shown(block: int) -> None:
    drawn = 0
    for seed in range(40 * block, 40 * (block + 1)):
        draw = random.Random(seed)
        report, before = value(Report, draw), value(Report, draw)
        try:
            drawn += len(figures(render(report, before=before)))
            assert compact(report)
            assert to_text(report, width=140)
        except Exception as error:
            error.args = (f"seed {seed}: {error}",)
            raise
    assert drawn > 200


@pytest.mark.parametrize("kind", [MonitorLog, CoordinateCheck])
def test_any_run_and_any_coordinate_check_can_be_shown(kind: type) -> None:
    drawn = 0
    for seed in range(80):
        record = value(kind, random.Random(seed))
        try:
            drawn += len(figures(render(record)))
            assert compact(record)
            assert to_text(record, width=140)
        except Exception as error:
            error.args = (f"seed {seed}: {error}",)
            raise
    assert drawn > 100


def test_a_number_that_json_lacks_would_be_caught() -> None:
    with pytest.raises(AssertionError, match="NaN is no JSON"):
        figures('<script id="figures">{"y": [NaN]}</script>')
