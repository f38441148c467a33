"""How a record shows itself: as text, as a page, in a notebook. Drawing is the report room's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["Shown"]


class Shown:
    """What every record that can be drawn has in common."""

    def to_text(self, *, width: int | None = None) -> str:
        """Return the record as plain text, what needs attention first."""
        from goodinit.report import to_text

        return to_text(self, width=width)

    def to_html(self, path: str | Path, *, docs: str | None = None) -> Path:
        """Write the record as one HTML file that needs nothing else, and return its path.

        Args:
            path: of the file; its folder must exist.
            docs: address of the documentation's folder, for links to findings.

        Raises:
            ArgumentError: if the file cannot be written.
        """
        from goodinit.report import to_html

        return to_html(self, path, docs=docs)

    def _repr_html_(self) -> str:
        from goodinit.report import compact

        return compact(self)

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> Any:
        from goodinit.report import renderable

        return renderable(self)
