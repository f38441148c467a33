"""A page is one file that needs nothing else, says all that the record says, and runs nothing of it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from goodinit.records import (
    Moments,
    PlanRecord,
    Report,
    RowCheck,
    RowRecord,
    Verification,
)
from goodinit.report import render

HOSTILE = '</script><script>document.title="owned"</script><img src=x onerror=alert(1)>"\'&{{8123*7}}%{y}'


class Page(HTMLParser):
    """What a browser would see: elements with attributes, texts by element, scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id") or ""
            self.scripts[self._script] = ""
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None
        if tag == "style":
            self._style = False

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] += data
        elif not self._style:
            self.text += data

    def rows(self) -> dict[str, list[list[str]]]:
        packed = self.scripts.get("rest", "")
        return dict(json.loads(gzip.decompress(b64decode(packed)))) if packed else {}

    def figures(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts["figures"]))


def figures_of(report: Report, before: Report | None = None) -> dict[str, Any]:
    return Page(render(report, before=before)).figures()


def outside_addresses(text: str) -> list[str]:
    """Every address that an element of the page would load or lead to beyond the page itself."""
    return [
        f"{tag} {name}={value}"
        for tag, attributes in Page(text).elements
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset", "data", "poster") and not (value or "").startswith("#")
    ]


def test_the_page_leads_with_the_verdict_and_holds_every_part(sample: Any, found: Any) -> None:
    page = Page(render(sample(30, 0.92, 0.54, found())))
    assert "ResidualMixer is not healthy: 1 error." in page.text
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == 1
    assert {"header", "nav", "main", "footer"} <= set(tags)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    parts = ("findings", "signal", "information", "distributions", "units", "attention", "jacobian", "plan")
    assert {*parts, "layers", "parameters"} <= set(ids)


def test_a_finding_shows_all_its_fields_and_the_cure_as_code(sample: Any, found: Any) -> None:
    page = Page(render(sample(8, 0.9, 0.5, found())))
    for part in (
        "GI104",
        "Vanishing gradient",
        "error",
        "blocks.29.linear",
        "8.3×10⁻⁹",
        "1.92×10⁻¹⁰ to 3.58×10⁻⁷",
        "healthy: 5.3×10⁻⁴ to 393",
        "from 1.06 to 8.8×10⁻⁹",
        'goodinit.initialize(model, "kaiming_normal")',
    ):
        assert part in page.text
    assert "1.06e+00" not in page.text


def test_findings_link_to_their_page_of_the_documentation_where_it_has_an_address(
    sample: Any, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = sample(4, 0.9, 0.5, found())
    linked = render(report, docs="https://docs.example/latest/")
    assert outside_addresses(linked) == ["a href=https://docs.example/latest/findings.md#gi104"]
    monkeypatch.setattr("goodinit.report.html.page.docs_address", lambda: None)
    assert outside_addresses(render(report)) == []


def test_the_page_needs_nothing_beyond_itself(sample: Any, found: Any) -> None:
    text = render(sample(6, 0.9, 0.5, found()), docs="")
    assert outside_addresses(text) == []
    page = Page(text)
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-inline'; img" in policy  # of styles; scripts are named by their hashes
    assert re.search(r"script-src( 'sha256-[^']+'){2};", policy)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_a_planted_address_is_caught() -> None:
    assert outside_addresses('<img src="https://tracker.example/x.png"><a href="#here">') == [
        "img src=https://tracker.example/x.png"
    ]


def hostile_report(sample: Any, found: Any) -> Report:
    report = sample(6, 0.9, 0.5, found())
    layers = tuple(dataclasses.replace(x, name=f"{HOSTILE}.{x.index}", kind=HOSTILE) for x in report.layers)
    parameters = tuple(dataclasses.replace(x, name=HOSTILE, dtype=HOSTILE) for x in report.parameters)
    assert report.plan is not None
    rows = tuple(
        dataclasses.replace(x, name=HOSTILE, why=HOSTILE, initializer=HOSTILE) for x in report.plan.rows
    )
    return dataclasses.replace(
        report,
        model=HOSTILE,
        batch=HOSTILE,
        notes=(HOSTILE,),
        versions={HOSTILE: HOSTILE},
        layers=layers,
        parameters=parameters,
        attention=tuple(dataclasses.replace(x, name=HOSTILE) for x in report.attention),
        jacobians=tuple(dataclasses.replace(x, end=HOSTILE) for x in report.jacobians),
        plan=PlanRecord(HOSTILE, HOSTILE, rows, (HOSTILE,)),
        findings=(
            found(
                code=HOSTILE,
                title=HOSTILE,
                where=(HOSTILE,) * 9,
                severity=HOSTILE,
                measure=HOSTILE,
                cause=HOSTILE,
                cure=f"`{HOSTILE}` {HOSTILE}",
            ),
        ),
    )


def test_names_are_text_wherever_they_stand(sample: Any, found: Any) -> None:
    report = hostile_report(sample, found)
    honest = Page(render(sample(6, 0.9, 0.5, found())))
    page = Page(render(report, before=report, docs="https://docs.example"))
    assert not any(tag == "img" for tag, _ in page.elements)
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert len(scripts) == len([1 for tag, _ in honest.elements if tag == "script"])
    assert page.scripts[""] == honest.scripts[""]
    assert page.text.count('<script>document.title="owned"</script>') > 20
    assert "56861" not in page.text
    page.figures()  # still JSON


def test_plans_and_verifications_escape_too() -> None:
    plan = PlanRecord(HOSTILE, HOSTILE, (RowRecord(HOSTILE, (1,), HOSTILE, None, None, None, None, HOSTILE),))
    outcome = Verification((RowCheck(HOSTILE, False, HOSTILE, 0.0, HOSTILE),), 1e-6)
    for record in (plan, outcome):
        page = Page(render(record))
        assert not any(tag == "img" for tag, _ in page.elements)
        assert page.text.count("<img src=x") >= 3


def test_a_name_without_a_utf8_form_is_written(tmp_path: Path) -> None:
    plan = PlanRecord(
        "Net\ud800", "auto", (RowRecord("a\udfff", (1,), "Keep()", None, None, None, None, ""),)
    )
    assert b"\\udfff" in plan.to_html(tmp_path / "p.html").read_bytes()


def test_equal_records_give_equal_pages(sample: Any, found: Any) -> None:
    one, other = sample(20, 0.9, 0.5, found()), sample(20, 0.9, 0.5, found())
    assert one is not other
    assert render(one) == render(other)
    assert render(one) != render(sample(20, 0.9, 0.51, found()))


def test_a_saved_report_gives_the_same_page(sample: Any, found: Any) -> None:
    report = sample(10, 0.9, 0.5, found())
    assert render(Report.from_json(report.to_json())) == render(report)


def test_a_report_saved_before_the_new_fields_existed_renders(sample: Any, found: Any) -> None:
    old = json.loads(sample(10, 0.9, 0.5, found()).to_json())
    for key in ("attention", "jacobians", "effective_depth", "plan"):
        del old[key]
    kept = {
        "index",
        "name",
        "kind",
        "call",
        "shape",
        "output",
        "gradient",
        "zeros",
        "units",
        "dead",
        "saturated",
    }
    old["layers"] = [{key: value for key, value in each.items() if key in kept} for each in old["layers"]]
    known = {"name", "shape", "dtype", "trainable", "value", "gradient", "largest"}
    old["parameters"] = [{k: v for k, v in each.items() if k in known} for each in old["parameters"]]
    page = Page(render(Report.from_json(json.dumps(old))))
    assert set(page.figures()) == {"forward", "backward", "idle"}
    assert "Attention" not in page.text
    assert "blocks.9.linear" in page.text


@pytest.mark.parametrize(
    "record",
    [
        Report("Net", "none", None, (), (), ()),
        PlanRecord("Net", "auto", ()),
        Verification((), 1e-6),
    ],
)
def test_empty_records_render(record: Any) -> None:
    page = Page(render(record))
    assert "plotly" not in page.scripts
    assert len(page.text) > 40


def test_predictions_are_drawn_with_their_band_on_the_measured_scale(sample: Any) -> None:
    report = sample(10)
    figures = figures_of(report)
    low, high, middle = figures["forward"]["views"][0]["traces"][:3]
    assert high["fill"] == "tonexty"
    expected = [x.predicted for x in report.layers if x.predicted]
    assert middle["y"] == pytest.approx([each.value for each in expected], rel=1e-3)
    assert low["y"] == pytest.approx([each.low for each in expected], rel=1e-3)
    assert high["y"] == pytest.approx([each.high for each in expected], rel=1e-3)
    last = [x for x in report.layers if x.predicted_gradient][-1]
    backward = figures["backward"]["views"][0]["traces"][2]
    assert last.gradient is not None
    assert backward["y"][-1] == pytest.approx(last.gradient.second_moment, rel=1e-3)


def test_a_missed_prediction_is_counted(sample: Any) -> None:
    report = sample(10)
    assert "All 10 predictions hold." in render(report)
    first = dataclasses.replace(report.layers[0], output=Moments(10, 0.0, 50.0, 7.0))
    missed = dataclasses.replace(report, layers=(first, *report.layers[1:]))
    assert "9 of 10 predictions hold; the others miss their band." in render(missed)


def test_before_and_after_stand_side_by_side(sample: Any, found: Any) -> None:
    before, after = sample(10, 0.9, 0.5, found()), sample(10, 0.99, 0.98)
    text = render(after, before=before)
    for part in ("Before and after", "GI104 (only here)", "healthy", "gradient, first layer over last"):
        assert part in Page(text).text
    names = [trace.get("name") for trace in figures_of(after, before)["forward"]["views"][0]["traces"]]
    assert "before" in names
    assert "before" not in [t.get("name") for t in figures_of(after)["forward"]["views"][0]["traces"]]


def test_layers_that_only_one_report_has_are_named(sample: Any) -> None:
    assert "blocks.4.act" in Page(render(sample(4), before=sample(5))).text
    assert "layers only here" not in Page(render(sample(4), before=sample(4))).text


def test_every_plot_has_a_sentence_a_table_and_a_label(sample: Any, found: Any) -> None:
    text = render(sample(30, 0.9, 0.5, found()))
    page = Page(text)
    plots = [a for tag, a in page.elements if tag == "div" and a.get("class") == "plot"]
    assert len(plots) == len(page.figures()) == 12
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 30 for a in plots)
    tables = {a["data-table"] for tag, a in page.elements if tag == "div" and "data-table" in a}
    assert {f"{key}-data" for key in page.figures()} <= tables


def test_long_tables_keep_every_row(sample: Any) -> None:
    report = sample(60)
    page = Page(render(report))
    rest = page.rows()
    assert len(rest["layers"]) == 120 - 40
    assert rest["layers"][-1][1] == "blocks.59.act"
    assert "40 of 120 rows are shown." in page.text
    assert "blocks.20.linear" not in {row[1] for row in rest["layers"][:0]}


def large(sample: Any, found: Any) -> Report:
    report = sample(250, 0.99, 0.97, found(where=tuple(f"blocks.{i}.linear" for i in range(200))))
    name = "module.model.decoder.layers.{}.self_attention.query_key_value.weight"
    parameters = tuple(
        dataclasses.replace(report.parameters[i % 250], name=name.format(i)) for i in range(5000)
    )
    rows = tuple(dataclasses.replace(report.plan.rows[i % 500], name=name.format(i)) for i in range(5000))
    return dataclasses.replace(
        report, parameters=parameters, plan=dataclasses.replace(report.plan, rows=rows)
    )


def test_500_layers_and_5000_parameters_stay_under_six_megabytes(sample: Any, found: Any) -> None:
    text = render(large(sample, found))
    page = Page(text)
    assert len(text.encode()) < 4_000_000
    assert len(page.rows()["parameters"]) == 4960
    assert "24 of 5000 drawn, evenly spaced; all are in the table." in page.text
    for figure in page.figures().values():
        for view in figure["views"]:
            drawn = sum(len(t.get("x") or t["z"][0] * len(t["z"])) for t in view["traces"])
            assert drawn < 12_000


def test_figures_are_what_plotly_accepts(sample: Any, found: Any) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k not in ("columns", "hover")}
        if isinstance(value, list):
            return [plain(each) for each in value]
        return "#123456" if isinstance(value, str) and value.startswith("$") else value

    def check(figures: dict[str, Any]) -> int:
        seen = 0
        for figure in figures.values():
            for view in figure["views"]:
                traces = [{"type": "scatter", **plain(t)} for t in view["traces"]]
                graph_objects.Figure({"data": traces, "layout": plain(view["layout"])})
                seen += 1
        return seen

    report = sample(12, 0.9, 0.5, found())
    steps = tuple(
        dataclasses.replace(x, steps=(1.0, 0.5, 0.2), step_gradients=(0.1, 0.2, 0.0))
        for x in report.layers[:2]
    )
    spectra = report.jacobians + tuple(
        dataclasses.replace(report.jacobians[0], start=f"a{i}", end=f"a{i + 1}") for i in range(9)
    )
    whole = dataclasses.replace(report, layers=(*steps, *report.layers[2:]), jacobians=spectra)
    assert check(figures_of(whole, report)) == 18
    broken = figures_of(report)
    broken["forward"]["views"][0]["traces"][0]["mode"] = "sideways"
    with pytest.raises(ValueError, match="sideways"):
        check(broken)


def test_colours_are_names_that_the_page_defines(sample: Any, found: Any) -> None:
    text = render(sample(30, 0.9, 0.5, found()), before=sample(30))
    used = set(re.findall(r'"\$([\w-]+)"', Page(text).scripts["figures"]))
    assert len(used) > 8
    assert {name for name in used if f"--{name}: " not in text} == set()


def test_a_plan_and_a_verification_are_pages_without_plots(tmp_path: Path) -> None:
    rows = tuple(
        RowRecord(f"layers.{i}.w", (4, 4), "Normal(mean=0.0, std=0.5)", 0.0, 0.5, 4.0, 4.0, "He")
        for i in range(99)
    )
    plan = PlanRecord("Net", "auto", rows, ("a note",)).to_html(tmp_path / "plan.html").read_text()
    assert "Plan of Net by recipe auto." in plan
    assert "a note" in plan
    assert len(plan) < 100_000
    checks = (RowCheck("a", True, "std", 0.4, ""), RowCheck("b", False, "std", 1e-30, "std 0.5, planned 0.1"))
    outcome = Page(Verification(checks, 1e-6).to_html(tmp_path / "v.html").read_text()).text
    assert "1 of 2 parameters does not follow the plan." in outcome
    assert outcome.index("std 0.5, planned 0.1") < outcome.rindex("follows")
    assert "false-alarm rate 10⁻⁶" in outcome
