"""The command as a whole: help, exit codes, what becomes of errors, and which modules it loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import goodinit
from goodinit.cli import main


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LOADED = "import sys; from goodinit.cli import main; code = main(sys.argv[1:]); print('torch' in sys.modules)"


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["--help"], "False"),
        (["--version"], "False"),
        (["check", "--help"], "False"),
        (["paln"], "False"),
        (["recipes"], "True"),  # planted: the same probe sees torch where it is loaded
    ],
)
def test_torch_is_loaded_only_by_commands_that_need_it(
    tmp_path: Path, arguments: list[str], loaded: str
) -> None:
    assert python("-c", LOADED, *arguments, folder=tmp_path).stdout.splitlines()[-1] == loaded


def test_the_help_names_every_command_and_every_form_of_model(run: Any) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    for word in ("apply", "check", "diff", "plan", "recipes", "verify", "Exit codes: 0 fine, 1 findings"):
        assert word in outcome.out
    for form in ("package.module:callable", "path/file.py:callable", "transformers:TYPE", "timm:NAME"):
        assert form in outcome.out


@pytest.mark.parametrize("command", ["apply", "check", "diff", "plan", "recipes", "verify"])
def test_every_command_takes_the_shared_options_and_explains_itself(run: Any, command: str) -> None:
    outcome = run(command, "--help")
    assert outcome.code == 0
    for option in ("--json", "--quiet", "--traceback"):
        assert option in outcome.out
    assert "\b" not in outcome.out
    assert "\\b" not in outcome.out
    assert command in ("recipes",) or "\n  Example" in outcome.out


def test_the_examples_of_the_help_texts_parse(run: Any, tmp_path: Path) -> None:
    """Each is run; what it lacks here is the model, so it gets as far as looking for that (but `lab`)."""
    import shlex

    texts = [run(name, "--help").out for name in ("apply", "check", "diff", "plan", "verify")]
    shown = [run("--help").out, *texts]
    lines = {line.strip() for text in shown for line in text.splitlines() if line.startswith("    goodinit ")}
    lines = {line for line in lines if not line.startswith("goodinit lab ")}
    assert len(lines) >= 10
    (tmp_path / "w.safetensors").write_bytes(b"")
    for line in sorted(lines):
        words = shlex.split(line.split("   ")[0])[1:]
        outcome = run(*(word if word != "transformers:gpt2" else "models.py:mpl" for word in words))
        assert outcome.code == 2
        assert "--help)" not in outcome.err or "does not exist" in outcome.err, outcome.err


def test_no_command_prints_the_help_as_an_error(run: Any) -> None:
    outcome = run()
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Usage: goodinit")


def test_the_version_is_the_packages(run: Any) -> None:
    assert run("--version").out == f"goodinit, version {goodinit.__version__}\n"


def test_an_unknown_command_or_option_gets_one_line(run: Any) -> None:
    assert run("paln").line.startswith("goodinit: No such command 'paln'")
    outcome = run("plan", "models.py:mlp", "--recpie", "torch")
    assert outcome.code == 2
    assert outcome.line.startswith("goodinit: No such option")
    assert outcome.line.endswith("(see goodinit plan --help)")


def test_an_unexpected_error_is_called_a_bug_with_its_traceback_and_exit_code_3(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import goodinit.plans

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(goodinit.plans, "plan", broken)
    outcome = run("plan", "models.py:mlp")
    assert outcome.code == 3
    assert "ZeroDivisionError: planted" in outcome.err
    assert outcome.err.rstrip().endswith("this is a bug in goodinit; please report it with the lines above")


def test_an_interrupt_ends_with_exit_code_130(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import goodinit.plans

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(goodinit.plans, "plan", interrupted)
    outcome = run("plan", "models.py:mlp", "--out", "plan.json")
    assert outcome.code == 130
    assert outcome.err.rstrip().endswith("goodinit: interrupted")
    assert not Path("plan.json").exists()


def test_the_module_runs_as_a_program_and_only_json_reaches_standard_output(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "from torch import nn\n"
        "print('loud while it is imported')\n"
        "class Loud(nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(4, 4)\n"
        "        nn.init.constant_(self.weight, float('nan'))\n"
        "    def forward(self, x):\n"
        "        print('loud while it runs')\n"
        "        return super().forward(x)\n"
    )
    outcome = python("-m", "goodinit", "check", "loud:Loud", "--json", folder=tmp_path)
    assert outcome.returncode == 1, outcome.stderr
    assert json.loads(outcome.stdout)["model"] == "Loud"
    assert "loud while it is imported" in outcome.stderr
    assert "loud while it runs" in outcome.stderr


@pytest.mark.skipif(os.name != "posix", reason="exit codes of signals are those of POSIX")
def test_a_reader_that_goes_away_leaves_no_traceback(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "goodinit", "recipes"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")


def test_main_reads_the_arguments_of_the_process_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["goodinit", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"goodinit, version {goodinit.__version__}\n"


def test_a_stream_that_knows_only_ascii_gets_the_rest_of_the_text() -> None:
    import io

    from goodinit.cli.settings import Settings, show

    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    show(Settings(stdout=stream), "std 1/√fan_in")
    assert raw.getvalue() == b"std 1/?fan_in\n"
