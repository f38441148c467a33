"""The page's colours, light and dark: blue against orange, which every kind of colour vision tells apart.

The hues of lines are Okabe and Ito's (2008), made lighter on dark ground. Text keeps a
contrast of 4.5 to 1 against what it stands on, marks 3 to 1 (WCAG 2.2, level AA); a test holds it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DARK", "LIGHT"]

LIGHT: Final[dict[str, str]] = {
    "page": "#f6f6f3",
    "surface": "#ffffff",
    "ink": "#1b1d20",
    "muted": "#596068",
    "line": "#e2e2dd",
    "grid": "#ebebe7",
    "accent": "#00629c",
    "error": "#b33a00",
    "error-tint": "#fdf1ea",
    "error-fill": "rgba(213, 94, 0, .28)",
    "warning": "#755600",
    "warning-tint": "#fbf5e3",
    "fine": "#00694d",
    "fine-tint": "#e9f5f0",
    "measured": "#0072b2",
    "other": "#9dbfd6",
    "predicted": "#6b7178",
    "band": "rgba(90, 98, 108, .16)",
    "before": "#a0568a",
    "violin": "rgba(0, 114, 178, .24)",
    "healthy": "#cfe6dd",
    "low": "#0072b2",
    "high": "#d55e00",
    "mid": "#e8c98a",
}
DARK: Final[dict[str, str]] = {
    "page": "#121416",
    "surface": "#1a1d20",
    "ink": "#e9eaec",
    "muted": "#a4abb3",
    "line": "#2d3237",
    "grid": "#282c31",
    "accent": "#7cc0f2",
    "error": "#ff9a6b",
    "error-tint": "#2b1f19",
    "error-fill": "rgba(255, 140, 80, .34)",
    "warning": "#ecc35a",
    "warning-tint": "#29241a",
    "fine": "#58c9a3",
    "fine-tint": "#17261f",
    "measured": "#56a8e0",
    "other": "#3d6380",
    "predicted": "#99a1a9",
    "band": "rgba(170, 180, 190, .17)",
    "before": "#d38bbd",
    "violin": "rgba(86, 168, 224, .30)",
    "healthy": "#24453a",
    "low": "#4aa3df",
    "high": "#f0863d",
    "mid": "#8a7443",
}
