"""Numbers on a page: three digits, powers of ten, and nothing lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodinit.records import Histogram
from goodinit.report.html.axes import log_axis, named_axis
from goodinit.report.html.numbers import percent, prose, scientific
from goodinit.report.html.violins import outline, quantile

_LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")


def value_of(text: str) -> float:
    """The number that a reader takes a text for."""
    plain = text.replace(",", "")
    if "10" in plain and any(char in plain for char in "⁰¹²³⁴⁵⁶⁷⁸⁹"):
        mantissa, _, power = plain.rpartition("10")
        sign = -1.0 if mantissa == "−" else 1.0
        factor = float(mantissa.strip("×").translate(_LOWERED)) if mantissa.strip("−×") else sign
        return factor * 10.0 ** int(power.translate(_LOWERED))
    return float(plain.translate(_LOWERED))


@given(st.floats(min_value=1e-290, max_value=1e290) | st.floats(min_value=-1e290, max_value=-1e-290))
def test_a_number_reads_as_itself_to_three_digits(value: float) -> None:
    assert value_of(scientific(value)) == pytest.approx(value, rel=5.1e-3)
    assert len(scientific(value)) <= 12


@given(st.floats(min_value=0, max_value=1))
def test_a_share_is_never_rounded_to_a_certainty(share: float) -> None:
    assert (percent(share) == "0 %") == (share == 0)
    assert (percent(share) == "100 %") == (share == 1)


def test_prose_keeps_what_is_no_number_in_e_notation() -> None:
    for text in ("layer2.e5 of 3", "module.1e5x", "0.17 per layer", "lr=0.001", "GI104"):
        assert prose(text) == text
    assert prose("1e-06, 2E+3 and -1.5e-08.") == "10⁻⁶, 2,000 and −1.5×10⁻⁸."


@given(st.floats(min_value=-300, max_value=299), st.floats(min_value=0.5, max_value=400))
def test_a_logarithmic_axis_has_between_one_and_eight_ticks_inside_it(start: float, length: float) -> None:
    low, high = 10**start, 10 ** min(start + length, 307.0)
    axis = log_axis(low, high)
    assert 1 <= len(axis["tickvals"]) <= 8
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in axis["tickvals"])
    assert len(axis["tickvals"]) == len(axis["ticktext"])


def test_names_under_an_axis_are_told_apart_by_what_differs() -> None:
    axis = named_axis([f"encoder.layers.{i}.attn" for i in range(3)], [0, 1, 2], "layer")
    assert axis["ticktext"] == ["0", "1", "2"]
    assert axis["title"]["text"] == "encoder.layers.*.attn"
    assert named_axis(["a", "a.b"], [0, 1], "layer")["ticktext"] == ["a", "a.b"]
    assert named_axis(["w"], [0], "layer")["ticktext"] == ["w"]
    many = named_axis([f"x.{i}" for i in range(99)], list(range(99)), "layer")
    assert many["title"]["text"] == "layer"
    assert many["ticktext"][0] == "0"
    assert many["ticktext"][-1] == "98"


histograms = st.builds(
    Histogram,
    st.floats(min_value=-100, max_value=0),
    st.floats(min_value=0.01, max_value=100),
    st.lists(st.integers(min_value=0, max_value=1000), min_size=1, max_size=80).map(tuple),
)


@given(histograms)
def test_a_violin_covers_just_the_bins_that_hold_something(histogram: Histogram) -> None:
    across, along = outline(histogram)
    assert len(across) == len(along)
    if not histogram.sampled:
        assert across == []
        return
    assert max(abs(x) for x in across) == pytest.approx(0.42)
    half = (len(across) - 3) // 2
    left, right = across[1 : half + 1], across[half + 2 : -1]
    assert left == [-x for x in reversed(right)]
    step = (histogram.high - histogram.low) / len(histogram.counts)
    filled = [i for i, each in enumerate(histogram.counts) if each]
    assert min(along) == pytest.approx(histogram.low + filled[0] * step, abs=1e-9)
    # Joining bins may reach beyond the last one by less than a joined bin.
    assert max(along) >= histogram.low + (filled[-1] + 1) * step - 1e-9
    assert max(along) < histogram.low + (filled[-1] + 4) * step


@given(histograms, st.floats(min_value=0, max_value=1))
def test_quantiles_lie_in_the_histogram_and_rise(histogram: Histogram, share: float) -> None:
    value = quantile(histogram, share)
    assert histogram.low - 1e-9 <= value <= histogram.high + 1e-9
    assert quantile(histogram, share / 2) <= value + 1e-9


def test_the_median_of_even_bins_is_their_middle() -> None:
    assert quantile(Histogram(0.0, 4.0, (5, 5, 5, 5)), 0.5) == pytest.approx(2.0)
    assert quantile(Histogram(0.0, 4.0, (0, 0, 0, 8)), 0.25) == pytest.approx(3.25)
    assert math.isclose(quantile(Histogram(2.0, 2.0, (7,)), 0.9), 2.0)
