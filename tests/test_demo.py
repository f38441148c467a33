"""The main job at reduced size: its claims, its files, and that the README shows what it prints."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from goodinit import Plan, Report
from goodinit.records import from_jsonable

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SHOWN = ROOT / "docs" / "demo_output.txt"
BEFORE, AFTER = "PyTorch default", "auto"

pytest.importorskip("sklearn", reason="the demo needs goodinit[demo]")
pytest.importorskip("matplotlib", reason="the demo needs goodinit[demo]")


@dataclass(frozen=True)
class Told:
    """What one quick run printed and wrote."""

    text: str
    figures: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def demo() -> Iterator[ModuleType]:
    """The script as a module; the modules beside it are found as when it runs by itself."""
    beside = ("demo_task", "demo_view")
    sys.path.insert(0, str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(EXAMPLES))
        for name in beside:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def told(demo: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("demo") / "out"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert demo.main(["--quick", "--out", str(folder)]) == 0
    return Told(printed.getvalue(), json.loads((folder / "demo.json").read_text()), folder)


def reports_of(told: Told, init: str) -> list[Report]:
    return [from_jsonable(Report, value) for value in told.figures["checks"][init]]


def test_the_default_init_has_findings_and_the_plan_has_none(told: Told) -> None:
    for report in reports_of(told, BEFORE):
        assert {"GI104", "GI108"} <= {finding.code for finding in report.findings}
    for report in reports_of(told, AFTER):
        report.assert_healthy()


def test_signal_and_gradient_die_before_and_arrive_after(demo: ModuleType, told: Told) -> None:
    # Over seeds 0 to 7 the factors were 4e-12 to 9e-11 before and 0.02 to 0.5 after.
    view = sys.modules["demo_view"]
    for factor in (view.forward_factor, view.backward_factor):
        assert factor(reports_of(told, BEFORE)[0]) < 1e-9
        assert 1e-3 < factor(reports_of(told, AFTER)[0]) < 1e2


def test_the_plan_trains_where_the_default_does_not(told: Told) -> None:
    # Over seeds 0 to 7 the accuracies were 0.10 to 0.26 before and 0.80 to 0.89 after.
    accuracy = told.figures["test_accuracy"]
    assert accuracy[BEFORE] < 0.4
    assert accuracy[AFTER] > accuracy[BEFORE] + 0.4


def test_the_margin_holds_for_another_seed_and_comes_from_the_init_alone(demo: ModuleType) -> None:
    task, digits = sys.modules["demo_task"], demo.load_digits(0)

    def accuracy(init: str) -> float:
        run = task.train(demo.QUICK, digits, digits.test, init, 5, demo.QUICK.rates[0])
        return float(run.accuracy)

    default = accuracy(BEFORE)
    assert accuracy(AFTER) > default + 0.4
    assert accuracy(BEFORE) == default  # the same seed repeats exactly, so nothing but the init differs


def test_both_inits_see_the_same_number_of_rates_seeds_and_steps(told: Told) -> None:
    for kind in ("tuning", "final"):
        runs = told.figures[kind]
        pairs = {init: [run["seed"] for run in runs if run["init"] == init] for init in (BEFORE, AFTER)}
        assert pairs[BEFORE] == pairs[AFTER] != []
    tuned = {run["seed"] for run in told.figures["tuning"]}
    assert not tuned & {run["seed"] for run in told.figures["final"]}


def test_no_image_is_in_two_parts(demo: ModuleType) -> None:
    digits = demo.load_digits(0)
    sizes = [len(part[1]) for part in (digits.train, digits.validation, digits.test)]
    assert sum(sizes) == 1797
    assert sizes[2] == 540  # 30 %
    # A few digits of the data set are equal pixel by pixel; a part that was used twice would repeat hundreds.
    images = torch.cat([part[0].flatten(1) for part in (digits.train, digits.validation, digits.test)])
    assert len(torch.unique(images, dim=0)) > 1780


def test_the_json_says_what_ran_where(told: Told) -> None:
    figures = told.figures
    assert figures["goodinit"] == "demo"
    assert figures["machine"]["torch"] == torch.__version__
    assert figures["machine"]["threads"] == 1
    assert figures["settings"]["depth"] == 20
    assert figures["verified"] is True
    assert Plan.from_json(json.dumps(figures["plan"])).recipe == AFTER
    assert set(figures["images"]) == {"train", "validation", "test"}


def test_the_picture_can_be_read_and_shows_lines(told: Told) -> None:
    from matplotlib.image import imread

    pixels = imread(told.folder / "demo.png")
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 800
    for colour in ((0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)):
        near = abs(pixels[..., :3] * 255 - colour).max(axis=-1) < 8
        for half in (near[:, : near.shape[1] // 2], near[:, near.shape[1] // 2 :]):
            assert half.sum() > 200


def test_nothing_half_written_is_left_beside_the_files(told: Told) -> None:
    assert sorted(path.name for path in told.folder.iterdir()) == ["demo.json", "demo.png"]


def test_the_number_of_threads_is_given_back_also_after_a_failure(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def fail(*_: object) -> None:
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "tell", fail)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            demo.main([])
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def skeleton(text: str) -> str:
    """The words without the figures: what must not change between sizes, seeds and machines."""
    story = text.partition("\nWrote ")[0]  # the folder differs
    lines = [line for line in story.splitlines() if ", torch " not in line]  # the machine differs
    words = " ".join(" ".join(lines).replace("─", " ").replace("*", "").split())
    words = re.sub(r"(?<!\w)\d[\d.,]*(?:e[-+]?\d+)?", "#", words)  # but neither float32 nor GI104
    # A quick run has fewer rates and seeds, so fewer columns and figures in a row.
    words = re.sub(r"(?:lr # )+", "lr # ", words)
    return re.sub(r"(?:#% ?)+", "#% ", words)


def test_the_readme_shows_the_recorded_output_word_for_word() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"```text\n{SHOWN.read_text(encoding='utf-8')}```" in readme


def test_the_recorded_output_is_what_the_demo_prints_today(told: Told) -> None:
    recorded = SHOWN.read_text(encoding="utf-8")
    assert skeleton(recorded) == skeleton(told.text), (
        "the demo prints something else than docs/demo_output.txt: run `make demo` again and put its text "
        "there and into README.md, and its picture into docs/demo.png"
    )


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("Cure: run", "Remedy: run"), ("GI104 of 3", "GI105 of 3"), ("3.5s 10.2%", "3.5ms 10.2%")],
)
def test_a_planted_change_of_the_words_is_caught(shown: str, printed: str) -> None:
    assert skeleton(shown) != skeleton(printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("2.303 3.5s 10.2% 9.6%", "0.5 12.25s  8.0%"),
        ("lr 0.0003  lr 0.001 loss", "lr 0.002 loss"),
        ("layers.{0..29}.conv ×30", "layers.{0..9}.conv ×10"),
        ("*88.5%  signal 4e-24\nis left", "88.5% *1.0% signal 0.02 is\nleft"),
    ],
)
def test_figures_and_line_breaks_do_not_count_as_a_change(shown: str, printed: str) -> None:
    assert skeleton(shown) == skeleton(printed)


def test_the_recorded_picture_is_small() -> None:
    assert (ROOT / "docs" / "demo.png").stat().st_size < 200_000
