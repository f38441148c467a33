"""Numbers, names and prose as a page shows them: 1.2×10⁻⁸, not 1.2345678e-08."""

from __future__ import annotations

import math
import re

__all__ = ["interval", "percent", "prose", "rounded", "scientific", "short_name"]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_EXPONENT = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?[eE][-+]?\d+(?![\w.]*\w)")


def scientific(value: float | None) -> str:
    """Return a number with three digits, with a power of ten where it is far from one.

    >>> [scientific(v) for v in (0.5, 1234.5, 1.2e-8, -3e20, 0.0, None, float("-inf"))]
    ['0.5', '1,230', '1.2×10⁻⁸', '−3×10²⁰', '0', '–', '−∞']
    """
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.2e}".split("e")
    power, sign = int(exponent), "−" if value < 0 else ""
    if -4 < power < 4:
        text = f"{float(f'{abs(value):.3g}'):,.{max(0, 2 - power)}f}"
        return sign + (text.rstrip("0").rstrip(".") if "." in text else text)
    short = mantissa.rstrip("0").rstrip(".")
    return f"{sign}{'' if short == '1' else short + '×'}10{str(power).translate(_RAISED)}"


def interval(bounds: tuple[float, float] | None) -> str:
    """Return an interval, or an empty string for None.

    >>> interval((1e-4, 1.0))
    '10⁻⁴ to 1'
    """
    if bounds is None:
        return ""
    low, high = bounds
    return scientific(low) if low == high else f"{scientific(low)} to {scientific(high)}"


def percent(share: float | None) -> str:
    """Return a share as a percentage, never rounded to a certainty that it is not.

    >>> [percent(v) for v in (0.0, 0.0004, 0.256, 0.9999, 1.0, None, float("nan"))]
    ['0 %', '<1 %', '26 %', '>99 %', '100 %', '–', 'NaN']
    """
    if share is None:
        return "–"
    if not math.isfinite(share):
        return scientific(share)
    if 0 < share < 0.01:
        return "<1 %"
    if 0.99 < share < 1:
        return ">99 %"
    return f"{share:.0%}".replace("%", " %")


def prose(text: str) -> str:
    """Return a sentence with its numbers in e-notation rewritten.

    >>> prose("from 1.06e+00 to 2.10e-24")
    'from 1.06 to 2.1×10⁻²⁴'
    """
    return _EXPONENT.sub(lambda found: scientific(float(found.group())), text)


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Return a number of few digits for a plot; None where it cannot be drawn."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def short_name(name: str, longest: int = 48) -> str:
    """Return a name's end, which tells layers apart.

    >>> short_name("encoder.block.11.layer.1.DenseReluDense.wo", 20)
    '….1.DenseReluDense.wo'
    """
    return name if len(name) <= longest else f"…{name[-longest:]}"
