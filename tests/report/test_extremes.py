"""NaN, infinity, zero and sizes far from one are shown where they happened."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from goodinit.records import Histogram, LayerSignal, Moments, ParameterSignal, Report
from goodinit.report import render


def figures_of(report: Report) -> dict[str, Any]:
    return dict(json.loads(render(report).split('id="figures">')[1].split("</script>")[0]))


def layer(index: int, second: float, nonfinite: int = 0, gradient: float | None = 1.0) -> LayerSignal:
    def moments(value: float, bad: int) -> Moments:
        root = math.sqrt(value) if value >= 0 else math.nan
        return Moments(100, 0.0, value, root, bad)

    back = None if gradient is None else moments(gradient, 0)
    return LayerSignal(
        index,
        f"l{index}",
        "Linear",
        0,
        (10, 10),
        moments(second, nonfinite),
        back,
        0.0,
        10,
        None,
        None,
        parametric=True,
    )


def test_what_is_not_finite_is_shown_where_it_happened() -> None:
    layers = (
        layer(0, 1.0),
        layer(1, math.inf),
        layer(2, math.nan),
        layer(3, 0.5, nonfinite=7),
        layer(4, 0.0),
    )
    layers = (*layers, dataclasses.replace(layer(5, 2.0), unit_moments=(1.0, math.nan, math.inf, 0.0)))
    parameter = ParameterSignal(
        "w", (2, 2), "float32", True, Moments(4, math.nan, math.nan, math.nan, 2), None, math.inf
    )
    report = Report("Net", "given", math.nan, layers, (parameter,), ())
    text = render(report)
    forward = figures_of(report)["forward"]["views"][0]["traces"]
    by_name = {trace.get("name"): trace for trace in forward}
    assert by_name["NaN or infinity"]["x"] == [1, 2, 3]
    assert by_name["exactly zero"]["x"] == [4]
    assert "3 layers hold NaN or infinity, the first is l1." in text
    assert "7 NaN or infinite of 100; the other 93: 0.5" in text
    units = figures_of(report)["units"]["views"][0]["traces"]
    assert [trace["hover"] for trace in units[1:]] == ["exactly zero", "NaN or infinite"]
    assert [[row[-1] for row in trace["z"]] for trace in units[1:]] == [
        [None, None, None, 1],
        [None, 1, 1, None],
    ]
    assert "∞" in text


def test_a_network_of_nothing_but_nan_renders() -> None:
    layers = tuple(layer(i, math.nan, nonfinite=100, gradient=math.nan) for i in range(4))
    forward = figures_of(Report("Net", "given", math.nan, layers, (), ()))["forward"]["views"][0]
    assert forward["traces"][0]["x"] == [0, 1, 2, 3]


@pytest.mark.parametrize("second", [1e-300, 1e300, 5e-324])
def test_extreme_sizes_stay_on_the_axis(second: float) -> None:
    view = figures_of(Report("Net", "given", None, (layer(0, 1.0), layer(1, second)), (), ()))["forward"][
        "views"
    ][0]
    low, high = view["layout"]["yaxis"]["range"]
    assert low <= max(math.log10(second), -307) <= high
    assert 1 <= len(view["layout"]["yaxis"]["tickvals"]) <= 8


def test_a_histogram_of_one_value_is_a_stroke(sample: Any) -> None:
    report = sample(3)
    flat = dataclasses.replace(report.parameters[0], histogram=Histogram(0.5, 0.5, (128,)))
    figures = figures_of(dataclasses.replace(report, parameters=(flat, *report.parameters[1:])))
    body = figures["violin-weights"]["views"][0]["traces"][0]
    assert (body["x"][:3], body["y"][:3]) == ([-0.4, 0.4, None], [0.5, 0.5, None])
