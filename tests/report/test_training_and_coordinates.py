"""Monitored runs and coordinate checks as text, in notebooks and as pages."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from goodinit.records import (
    CoordinateCheck,
    CoordinateLayer,
    Finding,
    LayerStep,
    MonitorEvent,
    MonitorLog,
    MonitorStep,
    ParameterStep,
)
from goodinit.report import compact, render, to_text

HOSTILE = "<script>alert(1)</script>"


def run(steps: int = 5, name: str = "net.0", died: bool = True) -> MonitorLog:
    made = tuple(
        MonitorStep(
            step=10 * at,
            loss=2.0 / (at + 1),
            learning_rate=0.1,
            layers=tuple(
                LayerStep(
                    f"{name}.{i}", "Linear", 0, 1, 2.0**i, 0.5**i, 16, 4 if died and at > 2 else 0, None, True
                )
                for i in range(3)
            ),
            parameters=(ParameterStep(f"{name}.0.weight", (16, 16), 0.1, 1e-4, 1e-8, 0.9, 0.3),),
            balance=1.0,
            drift=0.5 if at else 1.0,
            kept=0.9,
        )
        for at in range(steps)
    )
    events = (
        MonitorEvent(20, "start_forgotten", (f"{name}.0.weight",), 0.05, "the start is forgotten"),
        MonitorEvent(30, "layer_died", (f"{name}.0",), None, f"'{name}.0' died at step 30"),
    )
    return MonitorLog("Net", made, events if died else (), ("a note",))


def coordinates(slope: float = 1.0, name: str = "net.0") -> CoordinateCheck:
    layer = CoordinateLayer(
        name, "Linear", (1.0, 1.0, 1.0), (0.1, 0.2, 0.4), 0.0, (-0.1, 0.1), slope, (slope - 0.1, slope + 0.1)
    )
    found = Finding(
        "GI126", "Updates depend on width", "warning", (name,), "exponent of width", slope,
        (slope - 0.1, slope + 0.1), (-0.2, 0.2), "They grow with width.", "goodinit.theory.gain('relu')",
    )  # fmt: skip
    return CoordinateCheck(
        "Net", "adam", 1e-3, 2, 4, (64, 128, 256), (layer,), ((2.0, 1.5), (2.0, 1.2), (2.0, 1.0)),
        (found,) if abs(slope) > 0.2 else (), 0.2, 0.99,
    )  # fmt: skip


def test_a_run_leads_with_what_went_wrong_in_every_form() -> None:
    log = run()
    assert log.to_text().splitlines()[0] == "Net: 1 thing went wrong. 5 measured steps, 0 to 40."
    assert log.to_text().index("died") < log.to_text().index("forgotten")
    for text in (render(log), compact(log)):
        assert "Net: 1 thing went wrong." in text
        assert text.index("layer died") < text.index("start forgotten")
        assert "a note" in text
    fine = run(died=False)
    assert "nothing went wrong that was measured" in render(fine)
    assert "layer died" not in render(fine)


def test_a_run_draws_its_course_and_a_map_of_layers_and_steps() -> None:
    page = render(run())
    for key in ("loss", "balance", "kept", "updates", "outputs", "gradients", "dead"):
        assert f'"{key}":' in page
    # Where no unit died there is no map of dead units, and one step is no course of layers.
    assert '"dead":' not in render(run(died=False))
    assert '"gradients":' not in render(run(steps=1))


def test_a_coordinate_check_says_in_every_form_what_depends_on_width() -> None:
    check = coordinates()
    for text in (to_text(check), render(check), compact(check)):
        assert "Net: updates of 1 of 1 layer depend on width." in text
        assert "GI126" in text
        assert "+1.00 (+0.90 to +1.10)" in text
    assert str(check) == to_text(check)
    level = coordinates(0.0)
    for text in (to_text(level), render(level), compact(level)):
        assert "no update was found to depend on width" in text
        assert "GI126" not in text


def test_an_empty_run_and_a_check_without_layers_can_be_shown() -> None:
    assert "no step measured yet" in render(MonitorLog("Net"))
    assert "no step measured yet" in compact(MonitorLog("Net"))
    empty = dataclasses.replace(coordinates(0.0), layers=(), losses=())
    assert "Net" in render(empty)
    assert "Net" in compact(empty)


def test_names_are_escaped() -> None:
    for record in (run(name=HOSTILE), coordinates(name=HOSTILE)):
        for text in (render(record), compact(record)):
            assert HOSTILE not in text
            assert "&lt;script&gt;alert(1)" in text


def test_saved_records_render_the_same(tmp_path: Path) -> None:
    check = coordinates()
    assert render(CoordinateCheck.from_json(check.to_json())) == render(check)
    path = check.to_html(tmp_path / "check.html", docs="https://example.org/docs")
    assert "https://example.org/docs/findings.md#gi126" in path.read_text(encoding="utf-8")
    assert run().to_html(tmp_path / "run.html").stat().st_size < 6_000_000


@pytest.mark.parametrize("record", [run(60, HOSTILE), coordinates(1.0, HOSTILE)])
def test_a_browser_draws_the_page_without_a_complaint(
    browser: Any, tmp_path: Path, record: MonitorLog | CoordinateCheck
) -> None:
    main = browser.current_window_handle
    browser.switch_to.new_window("tab")
    try:
        for width in (1280, 360):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get(record.to_html(tmp_path / "page.html").as_uri())
            until(browser, "document.documentElement.dataset.plots")
            browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
            until(
                browser, "[...document.querySelectorAll('.plot')].every((b) => b.querySelector('.main-svg'))"
            )
            assert browser.execute_script("return document.querySelectorAll('.plot').length") >= 3
            until(browser, f"document.documentElement.scrollWidth <= {width}")
            plot = "plot-outputs" if isinstance(record, MonitorLog) else "plot-change"
            points = (
                "{xval: 1, yval: 0}, 'xy'" if plot == "plot-outputs" else "[{curveNumber: 0, pointNumber: 1}]"
            )
            browser.execute_script(f"window.Plotly.Fx.hover('{plot}', {points})")
            until(browser, f"document.querySelector('#{plot} .hovertext')")
        shown = browser.execute_script(f"return document.querySelector('#{plot}').textContent")
        # Long names are cut at the front.
        assert "lert(1)</script>" in shown
        assert browser.execute_script("return document.querySelectorAll('.plot script').length") == 0
        assert [entry["message"] for entry in browser.get_log("browser")] == []
    finally:
        browser.close()
        browser.switch_to.window(main)


def until(browser: Any, condition: str) -> None:
    end = time.monotonic() + 60.0
    while not browser.execute_script(f"return Boolean({condition})"):
        assert time.monotonic() < end, f"never true: {condition}"
        time.sleep(0.05)


@pytest.mark.parametrize("record", [run(), coordinates()])
def test_equal_records_give_equal_pages(record: MonitorLog | CoordinateCheck) -> None:
    assert render(record) == render(dataclasses.replace(record))
    assert record._repr_html_() == compact(record)
