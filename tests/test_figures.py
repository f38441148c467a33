"""The pictures that the documentation shows: there, small, and drawn by the script beside them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
SHOWN = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")  # a picture without words for it is not found, and so not shown

pytest.importorskip("matplotlib", reason="the pictures need goodinit[demo]")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_maps", DOCS / "figures" / "draw_maps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_drawn_by_the_script_shown_in_the_page_and_small(script: ModuleType) -> None:
    kept = {path.name for path in (DOCS / "figures").glob("*.png")}
    shown = {Path(link).name for link in SHOWN.findall((DOCS / "theory.md").read_text(encoding="utf-8"))}
    assert kept == shown == {f"{name}.png" for name in script.PICTURES}
    assert max((DOCS / "figures" / name).stat().st_size for name in kept) < 200_000


def test_the_script_draws_a_picture_the_same_twice(script: ModuleType, tmp_path: Path) -> None:
    made = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        script.main(["finite_width", "--out", str(tmp_path / folder)])
        made.append((tmp_path / folder / "finite_width.png").read_bytes())
    assert made[0] == made[1]
    assert made[0].startswith(b"\x89PNG")


def test_an_unknown_picture_is_refused(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        script.main(["phase"])
    assert stop.value.code == 2
    assert "there is no picture phase" in capsys.readouterr().err
