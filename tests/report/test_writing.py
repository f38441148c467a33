"""A page is written whole or not at all, and what goes wrong is one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goodinit.errors import ArgumentError, GoodinitError, WrongTypeError
from goodinit.records import Report
from goodinit.report import render, to_html
from goodinit.report.html.engine import needed


def test_the_file_is_written_whole_and_its_path_returned(sample: Any, tmp_path: Path) -> None:
    path = sample(3).to_html(tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_missing_folder_and_a_folder_as_file_are_named(tmp_path: Path) -> None:
    report = Report("Net", "none", None, (), (), ())
    with pytest.raises(ArgumentError, match=r"path: there is no folder '.*nowhere' to write 'r.html' into"):
        report.to_html(tmp_path / "nowhere" / "r.html")
    with pytest.raises(ArgumentError, match="is a folder; name a file"):
        report.to_html(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("goodinit.report.html.page.write_beside", full)
    with pytest.raises(ArgumentError, match=r"path: cannot write .*r\.html.*: No space left on device"):
        Report("Net", "none", None, (), (), ()).to_html(tmp_path / "r.html")


def test_other_things_are_refused_by_name(sample: Any, tmp_path: Path) -> None:
    with pytest.raises(WrongTypeError, match=r"expected one of Report, .*; got dict"):
        to_html({}, tmp_path / "x.html")
    with pytest.raises(WrongTypeError, match="before: two reports can be compared, not a Report with a dict"):
        render(sample(2), before={})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(GoodinitError, match=r"needs no_such_engine, .*pip install no_such_engine"):
        needed("no_such_engine.part")
