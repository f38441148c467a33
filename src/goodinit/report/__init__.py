"""Turn records into something to read. Nothing is measured here, so saved JSON renders again."""

from __future__ import annotations

from goodinit.report.html.compact import compact
from goodinit.report.html.page import render, to_html
from goodinit.report.sarif import to_sarif
from goodinit.report.text import renderable, to_text

__all__ = ["compact", "render", "renderable", "to_html", "to_sarif", "to_text"]
