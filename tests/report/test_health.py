"""A health report leads with what is wrong, says what is fine in one line, and is plain text."""

from __future__ import annotations

import dataclasses
import io
import math

import pytest
from rich.console import Console

from goodinit.errors import WrongTypeError
from goodinit.records import Finding, LayerSignal, Moments, ParameterSignal, Report
from goodinit.report import render, to_text


def moments(second: float = 1.0, nonfinite: int = 0) -> Moments:
    return Moments(64, 0.0, second, math.sqrt(second), nonfinite)


def layer(index: int, name: str, second: float = 1.0, kind: str = "Linear") -> LayerSignal:
    return LayerSignal(index, name, kind, 0, (8, 8), moments(second), moments(), 0.0, 8, None, None)


def finding(code: str = "GI104", severity: str = "error", where: tuple[str, ...] = ("layers.3",)) -> Finding:
    return Finding(
        code,
        "Vanishing gradient",
        severity,
        where,
        "ratio",
        1e-20,
        (1e-21, 1e-19),
        (0.1, 10.0),
        "Too small.",
        "init(model)",
    )


def report(*findings: Finding, depth: int = 40) -> Report:
    layers = tuple(layer(i, f"layers.{i}", 0.5**i) for i in range(depth))
    parameter = ParameterSignal("w", (8, 8), "float32", True, moments(), moments(), 1.0)
    return Report("Net", "(8, 8) float32, given", None, layers, (parameter,), findings)


def test_the_verdict_comes_first_then_findings_then_one_line_for_what_is_fine() -> None:
    lines = to_text(report(finding())).splitlines()
    assert lines[0] == "Net is not healthy: 1 error. 40 layers, 64 parameters."
    places = {
        word: next(i for i, line in enumerate(lines) if word in line)
        for word in ("GI104", "measured", "cause", "cure", "fine", "out std")
    }
    assert list(places.values()) == sorted(places.values())
    assert sum(line.startswith("fine") for line in lines) == 1


def test_a_healthy_report_says_so_in_its_first_line() -> None:
    assert to_text(report()).splitlines()[0] == "Net is healthy. 40 layers, 64 parameters."


def test_warnings_are_no_errors() -> None:
    assert "Net has 1 warning." in to_text(report(finding(severity="warning")))
    assert "1 error and 1 warning." in to_text(report(finding(), finding(severity="warning")))


def test_a_note_is_called_a_note_and_leaves_the_model_healthy() -> None:
    noted, warned = report(finding("GI125", "note")), report(finding("GI125", "warning"))
    assert noted.to_text().startswith("Net is healthy.")
    assert "(note)" in noted.to_text()
    assert "(note)" not in warned.to_text()
    assert '<article class="finding note"' in render(noted)
    assert '<article class="finding warning"' in render(warned)


def test_without_gradients_the_verdict_does_not_say_healthy() -> None:
    whole = report()
    forward = dataclasses.replace(
        whole, layers=tuple(dataclasses.replace(each, gradient=None) for each in whole.layers)
    )
    text = to_text(forward)
    assert "no fault found forward; backward was not measured" in text
    assert "is healthy" not in text
    assert "gradients" not in next(line for line in text.splitlines() if line.startswith("fine"))


def test_what_was_found_is_not_called_fine() -> None:
    line = next(line for line in to_text(report(finding())).splitlines() if line.startswith("fine"))
    assert "gradients" not in line
    assert "forward signal" in line


def test_the_table_shows_few_layers_and_all_on_request() -> None:
    short, full = to_text(report(finding())), to_text(report(finding()), full=True)
    assert short.count("layers.") < 20
    assert "more" in short
    assert all(f"layers.{i} " in full for i in range(40))
    assert "more" not in full
    assert "8×8" in full


def test_layers_that_findings_name_are_in_the_table() -> None:
    assert "layers.23" in to_text(report(finding(where=("layers.23",))))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_asked_and_nothing_is_a_control_code(width: int) -> None:
    text = to_text(report(finding(where=tuple(f"a.long.module.path.{i}" for i in range(9)))), width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert all(char.isprintable() for char in text.replace("\n", ""))


def test_long_names_keep_their_ends_at_80_columns() -> None:
    name = "encoder.block.11.layer.1.DenseReluDense.wo"
    whole = dataclasses.replace(report(), layers=(layer(0, name, kind="MultiheadAttention"), layer(1, "b")))
    text = to_text(whole, width=80)
    assert "DenseReluDense.wo" in text
    assert [line[:3] for line in text.splitlines()[-2:]] == ["0  ", "1  "]  # one line each, not folded


def test_markup_in_names_is_shown_and_not_obeyed() -> None:
    named = dataclasses.replace(
        report(), model="[red]Net[/red]", batch="[0] (3,) float32", notes=("[/] odd",)
    )
    bad = finding(where=("blocks[0][bold]",))
    text = to_text(dataclasses.replace(named, findings=(bad,), layers=(layer(0, "blocks[0][bold]"),)))
    for literal in ("[red]Net[/red]", "[0] (3,) float32", "[/] odd", "blocks[0][bold]"):
        assert literal in text


def test_colour_is_used_where_there_is_a_terminal() -> None:
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system="standard", width=80).print(report(finding()))
    assert "\x1b[1;31m" in stream.getvalue()
    assert "\x1b" not in to_text(report(finding()))


def test_broken_layers_are_marked() -> None:
    broken = dataclasses.replace(layer(0, "a"), output=moments(1.0, nonfinite=3), gradient=None)
    nan = finding("GI107", where=("a",))
    text = to_text(dataclasses.replace(report(nan), layers=(broken,)))
    assert "NaN/∞" in text
    assert "fine  parameter values" in text
    assert "forward signal" not in text


def test_a_saved_report_renders_the_same() -> None:
    whole = report(finding(), depth=12)
    assert to_text(Report.from_json(whole.to_json())) == to_text(whole)


def test_an_empty_report_renders() -> None:
    assert "0 layers" in to_text(Report("Net", "none", None, (), (), ()))


def test_other_things_are_refused_by_name() -> None:
    with pytest.raises(WrongTypeError, match=r"expected one of Report, .*; got dict"):
        to_text({})


def test_a_name_cannot_write_to_the_terminal() -> None:
    name = "a\x1b[31m\x07b\x9b2J\x7f"
    text = to_text(report(finding(where=(name,)), depth=3))
    named = dataclasses.replace(report(depth=1), layers=(layer(0, name),))
    for shown in (text, to_text(named), to_text(report().against(report(finding(where=(name,))).baseline()))):
        assert "␛[31m" in shown
        assert all(char == "\n" or char.isprintable() for char in shown)


def test_one_weight_layer_learns_and_nothing_is_zero_percent() -> None:
    single = dataclasses.replace(layer(0, "only"), parametric=True, varying=0.0)
    text = to_text(dataclasses.replace(report(depth=1), layers=(single,), effective_depth=1.0))
    assert "effectively 1 of 1 weight layer learns" in text
    assert " 0% " in text
    assert "0e+00" not in text
