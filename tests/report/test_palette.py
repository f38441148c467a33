"""Text can be read in both themes, and marks can be told apart without colour vision."""

from __future__ import annotations

import itertools

import pytest

from goodinit.report.html.palette import DARK, LIGHT

THEMES = {"light": LIGHT, "dark": DARK}
TEXT = ("ink", "muted", "accent")
GROUND = ("page", "surface")
# Text that stands on a tinted ground too.
TINTED = (
    ("error", "error-tint"),
    ("warning", "warning-tint"),
    ("ink", "error-tint"),
    ("ink", "warning-tint"),
)
SERIES = tuple(f"series-{number}" for number in range(7))
MARKS = ("measured", "predicted", "before", "error", "low", "high", *SERIES)


def channels(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def luminance(colour: str) -> float:
    red, green, blue = (linear(value) for value in channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2, 1.4.3."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def without_red_and_green(colour: str) -> tuple[float, float]:
    """What is left of a colour without one of the long-wave cones: brightness and blue against yellow."""
    red, green, blue = (linear(value) for value in channels(colour))
    return luminance(colour) ** (1 / 3), (blue ** (1 / 3) - (0.5 * (red + green)) ** (1 / 3))


@pytest.mark.parametrize("theme", THEMES)
def test_text_has_a_contrast_of_four_and_a_half(theme: str) -> None:
    colours = THEMES[theme]
    pairs = [*itertools.product((*TEXT, "error", "warning", "fine"), GROUND), *TINTED]
    poor = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("theme", THEMES)
def test_marks_have_a_contrast_of_three(theme: str) -> None:
    colours = THEMES[theme]
    poor = {name: contrast(colours[name], colours["surface"]) for name in MARKS}
    assert {name: ratio for name, ratio in poor.items() if ratio < 3} == {}


@pytest.mark.parametrize("theme", THEMES)
def test_the_ends_of_the_heat_map_differ_without_red_and_green(theme: str) -> None:
    (_, low), (_, high) = (without_red_and_green(THEMES[theme][name]) for name in ("low", "high"))
    assert low - high > 0.3


def test_both_themes_define_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()


def test_the_contrast_of_black_on_white_is_21_and_grey_text_would_be_caught() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#999999", "#ffffff") < 4.5
    (_, red), (_, green) = without_red_and_green("#aa3333"), without_red_and_green("#33aa33")
    assert abs(red - green) < 0.3
