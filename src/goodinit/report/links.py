"""Where a finding is explained: one page, a section for each code."""

from __future__ import annotations

import importlib.metadata
from typing import Final

__all__ = ["PAGE", "docs_address", "link", "section"]

PAGE: Final = "findings.md"


def section(code: str) -> str:
    """Return the section of a code within the folder of documentation pages.

    >>> section("GI104")
    'findings.md#gi104'
    """
    return f"{PAGE}#{code.lower()}"


def link(code: str, docs: str | None) -> str:
    """Return the address of a code's section, empty where the documentation has none.

    Args:
        code: of the finding.
        docs: address of the folder with the documentation pages.
    """
    return f"{docs.rstrip('/')}/{section(code)}" if docs else ""


def docs_address() -> str | None:
    """Return the address of the documentation that the installed package declares, if it does."""
    try:
        urls = importlib.metadata.metadata("goodinit").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that nobody installed
        return None
    for entry in urls:
        title, _, address = str(entry).partition(",")
        if title.strip().lower() == "documentation":
            return address.strip()
    return None
