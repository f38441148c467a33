"""Documentation is an output: every Python block and every docstring example runs here."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Shown, not run. A block in another language, or in none, is an error: nobody would notice it rot.
SHOWN = frozenset({"text", "console", "json", "toml", "yaml", "diff", "cpp"})
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)(?P<rest>.*)$")
DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the line of the page where the text begins."""

    language: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """The fenced code blocks of a Markdown page, in order."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = FENCE.match(line)
        if opening is None:
            opening, inside = fence, []
        elif fence and fence["language"] == "" and fence["ticks"].startswith(opening["ticks"]):
            found.append(Block(opening["language"], "\n".join(inside), number - len(inside)))
            opening = None
        else:
            inside.append(line.removeprefix(opening["indent"]))
    assert opening is None, f"{page.name}: a code block is not closed"
    return found


def run_page(page: Path) -> int:
    """Run the Python blocks of a page in one namespace; return how many there were.

    A block that begins with ``>>>`` is run as a doctest, so that what it shows is compared too.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    ran = 0
    for block in blocks_of(page):
        where = f"{page.name}:{block.line}"
        assert block.language == "python" or block.language in SHOWN, (
            f"{where}: a block is tagged {block.language!r}; use python (it runs), or one of {sorted(SHOWN)}"
        )
        if block.language != "python":
            continue
        ran += 1
        if block.text.lstrip().startswith(">>>"):
            example = doctest.DocTestParser().get_doctest(
                block.text, namespace, where, str(page), block.line - 1
            )
            failed, report = run_doctest(example, keep_names=True)
            assert not failed, f"{where}: {report}"
            namespace = example.globs
        else:
            # Empty lines in front give the page's own line numbers to a traceback.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
    return ran


def run_doctest(example: doctest.DocTest, *, keep_names: bool = False) -> tuple[int, str]:
    """Run one doctest; return the number of failures and what was printed about them."""
    lines: list[str] = []
    runner = doctest.DocTestRunner(optionflags=DOCTEST_OPTIONS, verbose=False)
    runner.run(example, out=lines.append, clear_globs=not keep_names)
    return runner.failures, "".join(lines)


def commands_of(page: Path) -> list[str]:
    """The lines ``$ command`` of a page's console blocks, comments removed."""
    lines = [
        line for block in blocks_of(page) if block.language == "console" for line in block.text.splitlines()
    ]
    return [line[2:].strip() for line in lines if line.startswith("$ ")]


def help_of(words: list[str]) -> str | None:
    """What ``goodinit <words> --help`` prints; None where there is no such command."""
    import contextlib
    import io

    from goodinit.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        try:
            code: Any = main([*words, "--help"])
        except SystemExit as stop:
            code = stop.code
    return printed.getvalue() if not code else None


def fault_in(command: str) -> str | None:
    """What is wrong with a command that a page shows: an unknown target, subcommand or option."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
        unknown = [word for word in words[1:] if "=" not in word and word not in targets]
        return f"make has no target {unknown[0]!r}" if unknown else None
    if words[0] != "goodinit":
        return None
    subcommand = [words[1]] if len(words) > 1 and not words[1].startswith("-") else []
    told = help_of(subcommand)
    if told is None:
        return f"there is no command `goodinit {subcommand[0]}`"
    options = [word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)]
    unknown = [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", told)]
    return f"`goodinit {' '.join(subcommand)}` has no option {unknown[0]}" if unknown else None


def module_names() -> list[str]:
    parts = [path.relative_to(SOURCE).with_suffix("").parts for path in sorted(SOURCE.rglob("*.py"))]
    names = [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]
    return [name for name in names if not name.endswith("__main__")]


def doctest_module(module: Any) -> tuple[int, int, str]:
    """Run the examples of a module's docstrings; return how many ran, how many failed, and the report."""
    ran, failed, reports = 0, 0, []
    for example in doctest.DocTestFinder(exclude_empty=True).find(module):
        failures, report = run_doctest(example)
        ran, failed = ran + len(example.examples), failed + failures
        reports.append(report)
    return ran, failed, "".join(reports)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_python_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_commands_that_a_page_shows_exist(page: Path) -> None:
    faults = {command: fault_in(command) for command in commands_of(page)}
    assert {command: fault for command, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("name", module_names())
def test_the_examples_of_a_module_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name.startswith("goodinit.rng.gpu_"):
        pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.chdir(tmp_path)
    _, failed, report = doctest_module(importlib.import_module(name))
    assert failed == 0, report


def write_page(folder: Path, *blocks: tuple[str, str]) -> Path:
    page = folder / "page.md"
    page.write_text("# A page\n\n" + "\n\n".join(f"```{tag}\n{text}\n```" for tag, text in blocks) + "\n")
    return page


def test_the_blocks_of_a_page_share_a_namespace_in_order(tmp_path: Path) -> None:
    page = write_page(tmp_path, ("python", "x = 1"), ("text", "x +"), ("python", ">>> x + 1\n2"))
    assert run_page(page) == 2


def test_a_planted_failing_block_is_caught_at_its_line(tmp_path: Path) -> None:
    page = write_page(tmp_path, ("python", "x = 1"), ("python", "y = 2\nassert x == y"))
    with pytest.raises(AssertionError) as failure:
        run_page(page)
    last = failure.traceback[-1]
    assert (Path(str(last.path)).name, last.lineno + 1) == ("page.md", 9)


def test_a_planted_wrong_output_is_caught(tmp_path: Path) -> None:
    page = write_page(tmp_path, ("python", ">>> 1 + 1\n3"))
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        run_page(page)


@pytest.mark.parametrize("tag", ["", "py", "bash"])
def test_a_block_that_nothing_would_run_is_caught(tmp_path: Path, tag: str) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:4: a block is tagged"):
        run_page(write_page(tmp_path, (tag, "x = 1")))


def test_a_planted_failing_docstring_example_is_caught() -> None:
    from types import ModuleType

    planted = ModuleType("planted", ">>> 1 + 1\n3\n>>> 1 + 2\n3\n")
    ran, failed, report = doctest_module(planted)
    assert (ran, failed) == (2, 1)
    assert "Expected" in report


def test_planted_commands_that_do_not_exist_are_caught() -> None:
    assert fault_in("make tset") == "make has no target 'tset'"
    assert fault_in("make PYTHON=python3.12 setup") is None
    assert fault_in("goodinit paln model.py:build") == "there is no command `goodinit paln`"
    assert fault_in("goodinit check model.py:build --jsno") == "`goodinit check` has no option --jsno"
    assert fault_in("goodinit check model.py:build --json  # a comment") is None
