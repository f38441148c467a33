"""In a real browser the page draws, runs nothing of its names, can be searched and used by keyboard."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from goodinit.records import ExperimentResult, Grid, Picture, PlanRecord, RowRecord

PATIENCE = 60.0
# Largest values of the parameters of `drawn`, in an order that no sort keeps.
SIZES = (3e-9, 0.5, 2e4, math.nan, 12.0, math.inf, -4e-7, 1.0)
HOSTILE = (
    '<img src=x onerror="document.title=1"><b>bold</b> %{y} <a href="javascript:document.title=2">go</a>'
)
HAS_NAME = """
const named = (e) => e.getAttribute('aria-label') || e.textContent.trim()
  || (e.getAttribute('aria-labelledby') || '').split(' ').some((id) => document.getElementById(id))
  || (e.id && document.querySelector(`label[for="${e.id}"]`));
const visible = (e) => e.offsetParent !== null || e.getClientRects().length;
const all = (s) => [...document.querySelectorAll(s)];
const faults = [];
for (const e of all('button, a[href], input, [role], summary, figure, section, nav, article, aside'))
  if (visible(e) && !named(e)) faults.push('no name: ' + e.outerHTML.slice(0, 90));
for (const e of all('img, svg:not([aria-hidden])'))
  if (!e.closest('.plot') && !e.getAttribute('aria-label') && !e.getAttribute('alt'))
    faults.push('no text: ' + e.outerHTML.slice(0, 90));
for (const e of all('table')) if (!e.caption) faults.push('no caption: ' + e.outerHTML.slice(0, 90));
for (const e of all('th')) if (!e.scope) faults.push('no scope: ' + e.outerHTML.slice(0, 90));
const ids = all('[id]').map((e) => e.id);
for (const id of new Set(ids)) if (ids.filter((x) => x === id).length > 1) faults.push('id twice: ' + id);
let level = 0;
for (const e of all('h1, h2, h3, h4')) {
  const own = Number(e.tagName[1]);
  if (own > level + 1) faults.push('heading skipped: ' + e.outerHTML.slice(0, 90));
  level = own;
}
if (!document.documentElement.lang) faults.push('no language');
return faults;
"""


@pytest.fixture(scope="module")
def drawn(browser: Any, sample: Any, found: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with everything, and one before it, open and drawn in a tab of its own."""
    report = sample(8, 0.9, 0.2, found())
    parameters = tuple(
        dataclasses.replace(each, largest=size) for each, size in zip(report.parameters, SIZES, strict=True)
    )
    path = tmp_path_factory.mktemp("page") / "page.html"
    load(browser, dataclasses.replace(report, parameters=parameters).to_html(path, before=sample(8)))
    draw_all(browser)
    return str(browser.current_window_handle)


@pytest.fixture
def page(browser: Any, drawn: str) -> Any:
    """The browser at the tab of `drawn`; a test that uses it leaves the page usable."""
    browser.switch_to.window(drawn)
    return browser


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Open a record in a new tab."""
    main = browser.current_window_handle
    browser.switch_to.new_window("tab")
    yield lambda record, **how: load(browser, record.to_html(tmp_path / "page.html"), **how)
    browser.close()
    browser.switch_to.window(main)


def load(browser: Any, path: Path, *, width: int = 1280) -> Any:
    resize(browser, width)
    system(browser, "light")
    browser.get(path.as_uri())
    until(browser, "document.documentElement.dataset.plots || !document.getElementById('plotly')")
    until(browser, "document.documentElement.dataset.tables || !document.getElementById('rest')")
    return browser


def system(browser: Any, scheme: str) -> None:
    """Set what the system asks for: a colour scheme, and no motion, so that scrolling is done at once."""
    wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wanted.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def resize(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def until(browser: Any, condition: str) -> None:
    end = time.monotonic() + PATIENCE
    while not browser.execute_script(f"return Boolean({condition})"):
        assert time.monotonic() < end, f"never true: {condition}"
        time.sleep(0.05)


def draw_all(browser: Any) -> None:
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    until(browser, "[...document.querySelectorAll('.plot')].every((box) => box.querySelector('.main-svg'))")


def complaints(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def requests(browser: Any) -> list[str]:
    return list(browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)"))


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    chain = ActionChains(browser)
    for key in keys:
        chain.send_keys(key)
    chain.perform()


def point(browser: Any, selector: str) -> None:
    """Put the mouse on an element."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    ActionChains(browser).move_to_element(browser.find_element(By.CSS_SELECTOR, selector)).perform()


def rows_of(browser: Any, table: str, column: int = 0) -> list[str]:
    script = f"return [...document.querySelectorAll('[data-table={table}] tbody tr')]"
    return list(browser.execute_script(f"{script}.map((row) => row.cells[{column}].textContent)"))


def hover_text(browser: Any, plot: str, points: str) -> str:
    browser.execute_script(f"window.Plotly.Fx.hover('{plot}', {points})")
    until(browser, f"document.querySelector('#{plot} .hovertext')")
    return str(browser.execute_script(f"return document.querySelector('#{plot} .hovertext').textContent"))


def big_plan() -> PlanRecord:
    rows = tuple(
        RowRecord(f"net.layers.{i}.weight", (4, 4), "Normal(mean=0.0, std=0.5)", 0.0, 0.5, 4.0, 4.0, "He")
        for i in range(5000)
    )
    return PlanRecord("Net", "kaiming_normal", rows)


def test_every_plot_is_drawn_without_a_complaint_or_a_request(page: Any) -> None:
    boxes = page.execute_script("return document.querySelectorAll('.plot').length")
    drawn = page.execute_script("return document.querySelectorAll('.plot > .plot-container').length")
    assert boxes == drawn == 12
    assert page.execute_script("return document.documentElement.dataset.plots") == "ready"
    assert complaints(page) == []
    assert requests(page) == []
    marks = "return document.querySelectorAll('#plot-forward .scatterlayer .trace').length"
    assert page.execute_script(marks) == 7


def test_the_policy_of_the_page_stops_a_planted_script_and_a_planted_request(show: Any) -> None:
    browser = show(big_plan())
    assert complaints(browser) == []
    browser.execute_script(
        "const b = document.createElement('div');"
        'b.innerHTML = \'<img src="x.png" onerror="document.title=1">\'; document.body.append(b);'
        "const s = document.createElement('script'); s.textContent = 'document.title=2';"
        "document.body.append(s);"
    )
    time.sleep(0.3)
    assert "goodinit" in browser.title
    assert sum("Content Security Policy" in message for message in complaints(browser)) >= 2


def test_names_do_nothing_and_are_shown_as_they_are(show: Any, sample: Any, found: Any) -> None:
    from selenium.webdriver.common.by import By

    report = sample(3, 0.9, 0.5, found(where=(HOSTILE,), title=HOSTILE))
    hostile = dataclasses.replace(
        report,
        model=HOSTILE,
        layers=tuple(dataclasses.replace(x, name=HOSTILE[:46]) for x in report.layers),
        attention=tuple(dataclasses.replace(x, name=HOSTILE[:46]) for x in report.attention),
    )
    browser = show(hostile)
    draw_all(browser)
    title = browser.title
    assert HOSTILE in browser.find_element(By.TAG_NAME, "h1").text
    for plot, points in (
        ("plot-forward", "[{curveNumber: 4, pointNumber: 0}]"),
        ("plot-attention", "{xval: 1, yval: 0}, 'xy'"),
        ("plot-violin-outputs", "[{curveNumber: 2, pointNumber: 1}]"),
    ):
        assert HOSTILE[:46] in hover_text(browser, plot, points)
    assert browser.execute_script("return document.querySelectorAll('img, .plot a').length") == 0
    assert browser.title == title
    assert complaints(browser) == []


def test_the_search_leaves_the_rows_that_match(show: Any) -> None:
    from selenium.webdriver.common.by import By

    browser = show(big_plan())
    field = browser.find_element(By.ID, "plan-search")

    def status() -> str:
        return str(browser.find_element(By.CSS_SELECTOR, "[data-table=plan] output").text)

    assert (len(rows_of(browser, "plan")), status()) == (40, "5,000 rows")
    field.send_keys("LAYERS.4321. weight")
    assert rows_of(browser, "plan") == ["net.layers.4321.weight"]
    assert status() == "1 of 5,000 rows match"
    field.clear()
    field.send_keys("no such parameter")
    assert (rows_of(browser, "plan"), status()) == ([], "0 of 5,000 rows match")
    field.clear()
    field.send_keys(" ")
    more = browser.find_element(By.CSS_SELECTOR, "[data-table=plan] .more button")
    browser.execute_script("arguments[0].click()", more)
    assert len(rows_of(browser, "plan")) == 540


def test_columns_sort_by_value_and_not_by_letter(page: Any) -> None:
    from selenium.webdriver.common.by import By

    head = page.find_element(By.XPATH, "//*[@data-table='parameters']//th[button[text()='largest']]")
    button = head.find_element(By.TAG_NAME, "button")
    page.execute_script("arguments[0].click()", button)
    assert head.get_attribute("aria-sort") == "ascending"
    rising = ["−4×10⁻⁷", "3×10⁻⁹", "0.5", "1", "12", "2×10⁴", "∞"]
    assert rows_of(page, "parameters", 5) == [*rising, "NaN"]
    page.execute_script("arguments[0].click()", button)
    assert rows_of(page, "parameters", 5) == [*reversed(rising), "NaN"]


def test_the_mouse_shows_a_layer(page: Any) -> None:
    script = "document.getElementById('plot-forward').scrollIntoView({block: 'center', behavior: 'instant'})"
    page.execute_script(script)
    point(page, "#plot-forward .scatterlayer .trace:nth-child(6) .points path:nth-child(3)")
    until(page, "document.querySelector('#plot-forward .hovertext')")
    text = page.execute_script("return document.querySelector('#plot-forward .hovertext').textContent")
    assert "blocks.2.linear · Linear" in text
    assert "predicted" in text


def test_the_theme_follows_the_system_until_the_button_is_pressed(page: Any) -> None:
    from selenium.webdriver.common.by import By

    def state() -> tuple[str, ...]:
        script = (
            "return [document.documentElement.dataset.theme, getComputedStyle(document.body).backgroundColor,"
            "document.querySelector('#plot-forward .xtick text').style.fill]"
        )
        return tuple(page.execute_script(script))

    light = state()
    system(page, "dark")
    until(page, "document.documentElement.dataset.theme === 'dark'")
    dark = state()
    assert all(one != other for one, other in zip(light, dark, strict=True))
    button = page.find_element(By.ID, "theme")
    assert button.get_attribute("aria-pressed") == "true"
    page.execute_script("arguments[0].click()", button)
    assert button.get_attribute("aria-pressed") == "false"
    assert state() == light
    system(page, "light")
    page.execute_script("arguments[0].click()", button)
    assert state() == dark
    page.execute_script("arguments[0].click()", button)
    assert complaints(page) == []


def test_the_keyboard_reaches_everything_and_walks_along_a_plot(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    wanted = page.execute_script(
        "window.seen = new Set(); document.addEventListener('focusin', (e) => seen.add(e.target));"
        "window.wanted = [...document.querySelectorAll('a[href], button, input, summary, .plot, .scroll')]"
        ".filter((e) => e.getClientRects().length && !e.closest('details:not([open]) > .table'));"
        "return wanted.length"
    )
    assert wanted > 60
    page.execute_script("document.querySelector('.skip').focus()")
    press(page, *[Keys.TAB] * (wanted + 20))
    left = "return wanted.filter((e) => !seen.has(e)).map((e) => e.outerHTML.slice(0, 80))"
    assert page.execute_script(left) == []
    page.execute_script("document.getElementById('plot-forward').focus()")
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    readout = "return document.querySelector('#plot-forward ~ .readout').textContent"
    assert page.execute_script(readout).startswith("blocks.1.linear · Linear; E[x²]")
    press(page, Keys.END)
    assert page.execute_script(readout).startswith("blocks.7.linear")
    assert page.execute_script("return getComputedStyle(document.activeElement).outlineWidth") == "3px"
    page.execute_script("document.getElementById('plot-units').focus()")
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    units = page.execute_script("return document.querySelector('#plot-units ~ .readout').textContent")
    assert units.startswith("blocks.0.linear · Linear; log₁₀ of unit over mean: ")
    assert page.execute_script(readout) == ""


def test_a_violin_can_be_drawn_in_both_ways(page: Any) -> None:
    plot = "document.getElementById('plot-violin-weight-gradients')"
    pressed = (
        f"return [...{plot}.closest('figure').querySelectorAll('.views button')].map((b) => b.ariaPressed)"
    )
    tops = f"return Math.max(...{plot}.data[0].y)"
    relative = page.execute_script(tops)
    assert page.execute_script(pressed) == ["true", "false"]
    page.execute_script(f"{plot}.closest('figure').querySelectorAll('.views button')[1].click()")
    assert page.execute_script(pressed) == ["false", "true"]
    assert page.execute_script(tops) < 0.1 < relative


def test_copying_takes_the_cure(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    wanted = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.execute_cdp_cmd("Browser.grantPermissions", wanted)
    page.execute_script("window.scrollTo(0, 0)")
    page.find_element(By.CSS_SELECTOR, ".copy button").click()
    until(page, "document.querySelector('.copy button').textContent === 'Copied'")
    field = page.find_element(By.ID, "layers-search")
    field.send_keys(Keys.CONTROL, "v")
    assert field.get_attribute("value") == 'goodinit.initialize(model, "kaiming_normal")'
    field.clear()


def test_a_narrow_screen_has_no_sideways_scroll(show: Any, sample: Any, found: Any) -> None:
    long = "a_module_with_a_very_long_name_that_has_no_dots_at_all_and_goes_on_and_on_for_ever"
    report = sample(4, 0.9, 0.5, found(where=(long,) * 3))
    layers = (dataclasses.replace(report.layers[0], name=long, kind=long), *report.layers[1:])
    browser = show(dataclasses.replace(report, model=long, layers=layers), width=360)
    draw_all(browser)
    for width in (360, 768):
        resize(browser, width)
        until(browser, f"innerWidth === {width} && document.querySelector('.plot').clientWidth < {width}")
        until(browser, f"document.documentElement.scrollWidth <= {width}")
        beyond = browser.execute_script(
            "return [...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, pre, .plot')"
            " && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"
        )
        assert beyond == []


def test_everything_has_a_name_for_those_who_do_not_see_it(page: Any) -> None:
    assert page.execute_script(HAS_NAME) == []


def test_planted_faults_are_found(show: Any) -> None:
    browser = show(big_plan())
    assert browser.execute_script(HAS_NAME) == []
    browser.execute_script(
        "document.querySelector('main').insertAdjacentHTML('beforeend',"
        " '<button></button><table><tr><th>a</th></tr></table><svg></svg><h4>x</h4><i id=main></i>')"
    )
    found = [fault.partition(":")[0] for fault in browser.execute_script(HAS_NAME)]
    assert found == ["no name", "no text", "no caption", "no scope", "id twice", "heading skipped"]


def test_without_script_the_numbers_are_there(browser: Any, sample: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    main = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(sample(4).to_html(tmp_path / "p.html").as_uri())
    text = browser.find_element(By.TAG_NAME, "main").get_attribute("innerText")
    state = browser.execute_script("return document.documentElement.dataset.plots || null")
    browser.close()
    browser.switch_to.window(main)
    assert state is None
    assert "The numbers of this plot are in the table below." in text
    assert "blocks.3.linear.weight" in text


@pytest.mark.parametrize("columns", [3, 4])
def test_the_title_under_a_heat_map_stands_below_its_labels(show: Any, columns: int) -> None:
    values = tuple(tuple(float(row + column) for column in range(columns)) for row in range(4))
    grid = Grid(tuple("0123"[:columns]), tuple("abcd"), values, "accuracy")
    picture = Picture("g", "G", "S.", "learning rate", "init", grid=grid)
    page = show(ExperimentResult("x", "X", "Q?", ("A.",), "", "small", {}, (), (picture,)))
    draw_all(page)
    labels, title = page.execute_script(
        "const all = (s) => [...document.querySelectorAll(s)];"
        "const edge = (s, side) => all(s).map((e) => e.getBoundingClientRect()[side]);"
        "return [Math.max(...edge('.xtick text', 'bottom')), Math.min(...edge('.xtitle', 'top'))]"
    )
    assert title > labels - 1
