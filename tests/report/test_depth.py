"""Curves over depth and over time steps: which layers make a line, and what stands beside them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from goodinit.records import Prediction
from goodinit.report.html import depth, recurrence


def traces(figure: Any) -> dict[str, Any]:
    return {trace["name"]: trace for trace in figure.views[0].traces if "name" in trace}


@pytest.mark.parametrize("draw", [depth.forward, depth.backward])
def test_predictions_and_earlier_curves_run_through_the_layers_of_the_measured_line(
    sample: Any, draw: Any
) -> None:
    report = sample(6)
    told = Prediction(1.0, 0.5, 2.0)
    layers = tuple(
        dataclasses.replace(
            layer,
            # Between the weights lie norms, which set a scale of their own.
            **({} if layer.kind == "Linear" else {"kind": "LayerNorm", "parametric": True}),
            predicted=told,
            predicted_gradient=told,
        )
        for layer in report.layers
    )
    changed = dataclasses.replace(report, layers=layers)
    found = traces(draw(changed, changed))
    line = found["measured, layers with weights"]["x"]
    assert [layers[at].kind for at in line] == ["Linear"] * len(line)
    assert found["predicted"]["x"] == line
    assert found["before"]["x"] == line


def test_what_was_foretold_of_time_steps_stands_beside_what_was_measured(sample: Any) -> None:
    report = sample(2)
    first = dataclasses.replace(report.layers[0], steps=(1.0, 2.0, 3.0), predicted_steps=(1.1, 2.1, 2.9))
    figure = recurrence.steps(dataclasses.replace(report, layers=(first, *report.layers[1:])))
    assert figure is not None
    found = traces(figure)
    assert len(found) == 2
    measured, predicted = (trace for name, trace in found.items())
    assert (measured["y"], predicted["y"]) == ([1.0, 2.0, 3.0], [1.1, 2.1, 2.9])
    assert measured["line"]["dash"] != predicted["line"]["dash"]
    bare = dataclasses.replace(first, predicted_steps=())
    figure = recurrence.steps(dataclasses.replace(report, layers=(bare, *report.layers[1:])))
    assert figure is not None
    assert len(traces(figure)) == 1
