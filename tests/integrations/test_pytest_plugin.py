"""The pytest fixtures, in a pytest of their own."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

# Before pytester, which forgets what a test run imports: nothing of these may be loaded a second time.
import torch._dynamo  # noqa: F401

import goodinit.report
import goodinit.signals  # noqa: F401

pytest_plugins = ("pytester",)

NAME = "goodinit.integrations.pytest_plugin"
MODELS = """
import torch
from torch import nn

def build(gain):
    torch.manual_seed(0)
    layers = []
    for _ in range(20):
        linear = nn.Linear(64, 64)
        nn.init.normal_(linear.weight, std=gain / 8)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers)

batch = torch.randn(64, 64)
"""


def run(pytester: pytest.Pytester, tests: str) -> pytest.RunResult:
    pytester.makepyfile(models=MODELS, test_it=f"from models import batch, build\n{tests}")
    pytester.syspathinsert()
    installed = any(point.value == NAME for point in importlib.metadata.entry_points(group="pytest11"))
    return pytester.runpytest_inprocess(*([] if installed else ["-p", NAME]), "-p", "no:cacheprovider")


def test_a_healthy_model_passes(pytester: pytest.Pytester) -> None:
    outcome = run(pytester, "def test_init(assert_healthy):\n    assert_healthy(build(2 ** 0.5), batch)\n")
    outcome.assert_outcomes(passed=1)


def test_an_unhealthy_model_fails_with_the_report_and_without_our_code(pytester: pytest.Pytester) -> None:
    outcome = run(pytester, "def test_init(assert_healthy):\n    assert_healthy(build(0.5), batch)\n")
    outcome.assert_outcomes(failed=1)
    text = outcome.stdout.str()
    assert "Vanishing" in text
    assert "cure" in text
    assert "pytest_plugin.py" not in text


def test_allowed_codes_are_no_failure_and_others_are(pytester: pytest.Pytester) -> None:
    outcome = run(
        pytester,
        "import goodinit\n"
        "codes = {finding.code for finding in goodinit.check(build(0.5), batch).findings}\n"
        "def test_all(assert_healthy):\n"
        "    report = assert_healthy(build(0.5), batch, allow=codes)\n"
        "    assert not report.healthy\n"
        "def test_none(assert_healthy):\n"
        "    assert_healthy(build(0.5), batch, allow=['GI999'])\n",
    )
    outcome.assert_outcomes(passed=1, failed=1)


def test_one_allowed_code_may_be_a_string_and_what_is_no_code_is_an_error(pytester: pytest.Pytester) -> None:
    outcome = run(
        pytester,
        "from torch import nn\n"
        "def table():\n"
        "    table = nn.Embedding(9, 8, padding_idx=0)\n"
        "    nn.init.normal_(table.weight)\n"
        "    return nn.Sequential(table, nn.Linear(8, 2))\n"
        "def test_string(assert_healthy):\n"
        "    assert not assert_healthy(table(), allow='GI118').healthy\n"
        "def test_title(assert_healthy):\n"
        "    assert_healthy(table(), allow=['GI118', 'Padding row not zero'])\n",
    )
    outcome.assert_outcomes(passed=1, failed=1)
    outcome.stdout.fnmatch_lines(["*ArgumentError: allow: *'GI106', got 'Padding row not zero'*"])


def test_reports_made_in_a_failing_test_are_shown(pytester: pytest.Pytester) -> None:
    outcome = run(
        pytester,
        "def test_init(goodinit_check):\n"
        "    report = goodinit_check(build(2 ** 0.5), batch)\n"
        "    assert report.loss is not None\n",
    )
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*goodinit*", "Sequential is healthy*"])


def test_loading_the_plugin_does_not_load_torch() -> None:
    code = f"import sys, {NAME}; assert 'torch' not in sys.modules; import torch"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["scalars", "tensorboard", "wandb", "pytest_plugin"])
def test_a_module_is_loaded_when_it_is_asked_for(name: str) -> None:
    import goodinit

    assert getattr(goodinit.integrations, name).__name__ == f"goodinit.integrations.{name}"
    assert not hasattr(goodinit.integrations, "keras")


def test_with_a_baseline_only_what_is_new_or_worse_fails(pytester: pytest.Pytester) -> None:
    outcome = run(
        pytester,
        "import goodinit\n"
        "goodinit.check(build(0.5), batch).baseline().save('known.json')\n"
        "def test_known(assert_healthy):\n"
        "    assert not assert_healthy(build(0.5), batch, baseline='known.json').healthy\n"
        "def test_new(assert_healthy):\n"
        "    assert_healthy(build(5.0), batch, baseline='known.json')\n",
    )
    outcome.assert_outcomes(passed=1, failed=1)
