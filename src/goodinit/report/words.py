"""Numbers and names as short, even text."""

from __future__ import annotations

import math

__all__ = ["between", "collapsed", "count", "ending", "number", "shape", "units"]


def number(value: float | None) -> str:
    """Return a number with three digits, never wider than nine characters.

    >>> [number(v) for v in (0.5, 1234.5, 1e-9, None, float("nan"))]
    ['0.5', '1.23e+03', '1e-09', '–', 'NaN']
    """
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.3g}"


def units(value: float | None) -> str:
    """Return a number of units, whole where it is whole.

    >>> units(1024.0), units(4.5), units(None)
    ('1,024', '4.5', '–')
    """
    if value is not None and math.isfinite(value) and value == int(value):
        return f"{int(value):,}"
    return number(value)


def between(interval: tuple[float, float] | None) -> str:
    """Return an interval, or an empty string for None."""
    if interval is None:
        return ""
    low, high = interval
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def count(n: int, noun: str) -> str:
    """Return a counted noun.

    >>> count(1, "layer"), count(1200, "layer")
    ('1 layer', '1,200 layers')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def shape(sizes: tuple[int, ...]) -> str:
    """Return a shape as sizes joined by ×.

    >>> shape((64, 3, 7, 7)), shape(())
    ('64×3×7×7', 'scalar')
    """
    return "×".join(str(size) for size in sizes) if sizes else "scalar"


def ending(name: str, most: int) -> str:
    """Return the end of a long name, which tells layers apart.

    >>> ending("encoder.layers.11.attention", 16), ending("head", 16)
    ('…rs.11.attention', 'head')
    """
    return name if len(name) <= most else f"…{name[1 - most :]}"


def collapsed(names: tuple[str, ...], limit: int = 4) -> str:
    """Return names, the middle left out where there are many.

    >>> collapsed(("a", "b", "c", "d", "e", "f"))
    'a, b, c … f (6 in all)'
    """
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[: limit - 1])} … {names[-1]} ({len(names)} in all)"
