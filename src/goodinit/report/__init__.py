"""Turn records into something to read. Nothing is measured here, so saved JSON renders again."""

from __future__ import annotations

from goodinit.report.text import renderable, to_text

__all__ = ["renderable", "to_text"]
