"""From results of `goodinit lab all` to what is committed: docs/lab.md, its pictures and its figures as JSON.

The page is made of the JSON file alone (`page`), so that a test can tell whether the two agree. The
pictures are taken of the experiments' own pages, by Chromium.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks" / "results" / "lab.json"
PAGE = ROOT / "docs" / "lab.md"
PICTURES = ROOT / "docs" / "lab"
KEPT = ("name", "title", "question", "answer", "textbook", "size", "settings", "facts", "notes")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
WIDTH = 760

HEAD = """# The laboratory

Ready experiments that teach, each a small script over the public API. `goodinit lab list` names them,
`goodinit lab run NAME` runs one, `--html FILE` writes its page with all pictures and tables. What stands
below was measured by `goodinit lab all` at the size that is named under each experiment; `make lab` measures
all of them at full size and writes this page.

A fact is a number with its 95 % interval; where something is stated by the tutorials, a paper or theory,
it stands beside it, and *no* in the last column says that the measurement disagrees by more than twice
its interval.

"""


def page(results: list[dict[str, Any]]) -> str:
    """Return docs/lab.md."""
    parts = [HEAD, *(f"- [{each['title']}](#{each['name']})\n" for each in results)]
    for each in results:
        settings = "; ".join(f"{name}: {value}" for name, value in each["settings"].items())
        parts += [
            f"\n## {each['name']}\n\n**{each['title']}.** {each['question']}\n\n",
            *(f"- {sentence}\n" for sentence in each["answer"]),
            f"\n*The textbook.* {each['textbook']}\n" if each["textbook"] else "",
            f"\n![{each['title']}](lab/{each['name']}.png)\n",
            "\n| what | measured | 95 % interval | stated | holds |\n|---|---|---|---|---|\n",
            *(_row(fact) for fact in each["facts"]),
            f"\n`goodinit lab run {each['name']}`, {each['size']} size. {settings}. ",
            f"{'; '.join(each['notes'])}.\n",
        ]
    return "".join(parts)


def _row(fact: dict[str, Any]) -> str:
    measured = fact["measured"]
    value, low, high = (_number(measured[key]) for key in ("value", "low", "high"))
    holds = {None: "", True: "yes", False: "no"}[fact["holds"]]
    cells = (fact["name"], value, "exact" if low == high else f"{low} to {high}", fact["stated"], holds)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def shot(browser: Any, html: Path, target: Path) -> None:
    """Take the first figure of a page as a picture."""
    browser.get(html.as_uri())
    end = time.monotonic() + 60
    # Plots are drawn when they come near, and all of them before printing.
    draw = "window.dispatchEvent(new Event('beforeprint')); return document.querySelector('.plot .main-svg')"
    while not browser.execute_script(draw):
        if time.monotonic() > end:
            sys.exit(f"{html}: no plot was drawn")
        time.sleep(0.2)
    time.sleep(0.5)
    browser.find_element("css selector", "figure.card").screenshot(str(target))


def main() -> None:
    """Read the folder that is named, and write page, data and pictures."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/lab_results.py FOLDER, which `goodinit lab all --out FOLDER` wrote")
    folder = Path(sys.argv[1])
    from selenium import webdriver

    from goodinit import lab
    from goodinit.records import ExperimentResult
    from goodinit.report import render

    found = [ExperimentResult.from_json((folder / f"{name}.json").read_text("utf-8")) for name in lab.names()]
    results = [{key: json.loads(result.to_json())[key] for key in KEPT} for result in found]
    DATA.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    PAGE.write_text(page(results), "utf-8")
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--window-size={WIDTH},6000"):
        options.add_argument(flag)
    driver = shutil.which("chromedriver")
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver) if driver else None)
    PICTURES.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            for result in found:
                target = PICTURES / f"{result.name}.png"
                if (
                    target.is_file()
                    and target.stat().st_mtime > (folder / f"{result.name}.json").stat().st_mtime
                ):
                    continue  # taken before an interruption
                html = Path(temporary) / f"{result.name}.html"
                html.write_text(render(result), "utf-8")
                shot(browser, html, target)
    finally:
        browser.quit()
    print(f"wrote {PAGE.relative_to(ROOT)}, {DATA.relative_to(ROOT)} and {len(found)} pictures")


if __name__ == "__main__":
    main()
