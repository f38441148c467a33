"""The front door of the package: what `goodinit` offers and where it comes from."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
from pathlib import Path

import pytest

import goodinit

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", goodinit.__all__)
def test_every_public_name_can_be_used(name: str) -> None:
    value = getattr(goodinit, name)
    if name in goodinit._HOME:
        assert value is getattr(importlib.import_module(goodinit._HOME[name]), name)
    elif name != "__version__":
        assert value is importlib.import_module(f"goodinit.{name}")


def test_names_that_load_a_module_are_offered_as_the_same_object_again() -> None:
    assert goodinit.Report is goodinit.Report is goodinit.records.Report


def test_dir_lists_the_public_names_and_nothing_else() -> None:
    assert dir(goodinit) == sorted(goodinit.__all__)
    assert len(set(goodinit.__all__)) == len(goodinit.__all__)


def test_an_unknown_name_raises_the_usual_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'goodinit' has no attribute 'initialise'"):
        goodinit.initialise  # noqa: B018


def test_the_type_checker_sees_the_names_that_run_time_offers() -> None:
    tree = ast.parse(Path(goodinit.__file__).read_text(encoding="utf-8"))
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    offered = {
        name: goodinit._HOME.get(name, "goodinit") for name in goodinit.__all__ if name != "__version__"
    }
    assert seen == offered


def test_the_installed_version_is_the_one_in_the_source() -> None:
    """It fails after the version was raised and before `make setup` ran again."""
    assert importlib.metadata.version("goodinit") == goodinit.__version__


def test_the_changelog_names_the_kinds_of_change_that_the_project_uses() -> None:
    headings = set(
        re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Values"}
    assert headings
    assert headings <= known


def test_the_package_ships_its_types() -> None:
    assert (ROOT / "src" / "goodinit" / "py.typed").is_file()
