"""Whatever a record holds, it can be shown: as a page, in a notebook, as text."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goodinit.records import (
    AttentionSignal,
    Finding,
    Histogram,
    JacobianSpectrum,
    LayerSignal,
    Moments,
    ParameterSignal,
    Prediction,
    Report,
)
from goodinit.report import compact, render, to_text

# NaN, infinity, zero, the smallest and the largest: what a broken network measures.
numbers = st.one_of(
    st.floats(), st.sampled_from([0.0, 1.0, float("nan"), float("inf"), -float("inf"), 5e-324, 1.7e308])
)
names = st.text(max_size=12)
counts = st.integers(min_value=0, max_value=10**6)
moments = st.builds(Moments, counts, numbers, numbers, numbers, counts)
histograms = st.builds(Histogram, numbers, numbers, st.lists(counts, max_size=6).map(tuple))
predictions = st.builds(Prediction, numbers, numbers, numbers)
several = st.lists(numbers, max_size=5).map(tuple)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


layers = st.builds(
    LayerSignal,
    index=st.integers(0, 40),
    name=names,
    kind=names,
    call=st.integers(0, 2),
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    output=moments,
    gradient=maybe(moments),
    zeros=numbers,
    units=counts,
    dead=maybe(counts),
    saturated=maybe(numbers),
    varying=maybe(numbers),
    parametric=st.booleans(),
    correlation=maybe(numbers),
    rank=maybe(numbers),
    rows=maybe(counts),
    underflow=maybe(numbers),
    unit_moments=several,
    unit_gradients=several,
    steps=several,
    step_gradients=several,
    memory=several,
    histogram=maybe(histograms),
    gradient_histogram=maybe(histograms),
    predicted=maybe(predictions),
    predicted_gradient=maybe(predictions),
)
parameters = st.builds(
    ParameterSignal,
    name=names,
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    dtype=names,
    trainable=st.booleans(),
    value=moments,
    gradient=maybe(moments),
    largest=numbers,
    zeros=numbers,
    underflow=maybe(numbers),
    histogram=maybe(histograms),
    gradient_histogram=maybe(histograms),
)
findings = st.builds(
    Finding,
    code=names,
    title=names,
    severity=st.sampled_from(["error", "warning"]),
    where=st.lists(names, max_size=8).map(tuple),
    measure=names,
    effect=numbers,
    interval=maybe(st.tuples(numbers, numbers)),
    expected=maybe(st.tuples(numbers, numbers)),
    cause=names,
    cure=names,
)
attention = st.builds(
    AttentionSignal, names, st.integers(0, 2), counts, numbers, numbers, several, numbers, numbers
)
jacobians = st.builds(
    JacobianSpectrum,
    st.sampled_from(["input", "a"]),
    st.sampled_from(["output", "b"]),
    counts,
    counts,
    numbers,
    numbers,
    numbers,
    several,
    several,
    counts,
)
reports = st.builds(
    Report,
    model=names,
    batch=names,
    loss=maybe(numbers),
    layers=st.lists(layers, max_size=5).map(tuple),
    parameters=st.lists(parameters, max_size=4).map(tuple),
    findings=st.lists(findings, max_size=3).map(tuple),
    attention=st.lists(attention, max_size=3).map(tuple),
    jacobians=st.lists(jacobians, max_size=8).map(tuple),
    effective_depth=maybe(numbers),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reports, reports)
def test_any_report_can_be_shown(report: Report, before: Report) -> None:
    page = render(report, before=before)
    figures = page.split('id="figures">')[1].split("</script>")[0]
    json.loads(figures, parse_constant=lambda word: pytest_fail(word))
    assert compact(report)
    assert to_text(report, width=140)


def pytest_fail(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")
