"""``--override PATTERN=INIT``: what is read, and that nothing is ever executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodinit.cli.initializer import read_initializer, read_overrides
from goodinit.errors import OverrideError
from goodinit.initializers import (
    Blocks,
    Constant,
    Initializer,
    Keep,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    XavierUniform,
    ZeroRows,
)

numbers = st.floats(-1e6, 1e6)
sizes = st.floats(1e-6, 1e6)
simple = st.one_of(
    st.builds(Constant, numbers),
    st.builds(Normal, numbers, sizes),
    st.builds(lambda low, width: Uniform(low, low + width), st.floats(-10, 10), st.floats(0.1, 10)),
    st.builds(TruncatedNormal, numbers, sizes, st.floats(0.5, 5)),
    st.builds(Orthogonal, sizes),
    st.builds(XavierUniform, sizes),
    st.just(Keep()),
)
random = simple.filter(lambda each: not isinstance(each, Keep | Constant))
nested = st.one_of(
    simple,
    st.builds(lambda parts: Blocks(tuple(parts)), st.lists(st.tuples(st.integers(0, 9), random), min_size=1)),
    st.builds(lambda inner: ZeroRows(inner, (0,)), random),
)


@given(nested)
def test_what_an_initializer_prints_is_read_back_as_itself(initializer: Initializer) -> None:
    assert read_initializer(repr(initializer)) == initializer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0.5", -0.5),
        ("+1e-3", 1e-3),
        ("keep", "keep"),
        (" Normal( std = 0.02 ) ", Normal(std=0.02)),
        ("Normal", Normal()),
        ("Uniform(-1, 1)", Uniform(-1.0, 1.0)),
        ("VarianceScaling(2, 'fan_out')", VarianceScaling(2.0, "fan_out")),
    ],
)
def test_the_short_forms(text: str, value: object) -> None:
    assert read_initializer(text) == value


def test_a_pattern_may_contain_the_sign() -> None:
    assert read_overrides(["re:(?=x).*=1", "*.bias=0"]) == {"re:(?=x).*": 1, "*.bias": 0}


def test_a_pattern_given_again_moves_to_its_later_place() -> None:
    assert list(read_overrides(["a=0", "*=1", "a=2"]).items()) == [("*", 1), ("a", 2)]


HOSTILE = [
    "__import__('os').system('touch executed')",
    "open('executed', 'w')",
    "Normal(std=open('executed', 'w'))",
    "(lambda: open('executed', 'w'))()",
    "[open('executed', 'w') for _ in (1,)]",
    "f\"{open('executed', 'w')}\"",
    'exec(\'open("executed", "w")\')',
    "Normal.__class__",
    "().__class__.__bases__",
    "Normal(*(0, 1))",
    "Normal(**{'std': 1})",
    "Initializer()",
    "as_initializer(1)",
    "KINDS",
    "1 + 1",
    "10 ** 10 ** 10",
    "{}",
    "'text'",
    "(1, 2)",
    "None",
    "True",
    "1j",
    "x" * 10_000,
    "(" * 5_000 + ")" * 5_000,
    "-" * 50_000 + "1",
    "-" * 2_000 + "'a'",
    "",
    "1\x00",
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:24] or "nothing" for text in HOSTILE])
def test_nothing_is_executed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OverrideError):
        read_initializer(text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scale", "--override 'scale': expected PATTERN=INIT, for example"),
        ("=0", "--override '=0': expected PATTERN=INIT"),
        ("scale=", "cannot read ''"),
        ("scale=normal(std=1)", "no initializer 'normal' (did you mean 'Normal'?); there are: "),
        ("scale=xavier_uniform()", "no initializer 'xavier_uniform' (did you mean 'XavierUniform'?)"),
        ("scale=Orthogonl()", "no initializer 'Orthogonl' (did you mean 'Orthogonal'?)"),
        ("scale=Normal(sdt=1)", "'sdt'; it is Normal(mean=0.0, std=1.0)"),
        ("scale=Constant()", "'value'; it is Constant(value)"),
        ("scale=Normal(std=-1)", "std must be at least 0, found -1"),
        ("scale=Normal(std='a')", "std must be a number, found 'a'"),
        ("scale=Blocks(3)", "Blocks: "),
    ],
)
def test_a_bad_override_gets_one_line_that_quotes_it(run: Any, override: str, message: str) -> None:
    outcome = run("plan", "models.py:Scaled", "--override", override)
    assert outcome.code == 2
    assert outcome.line.startswith(f"goodinit: --override {override!r}: ")
    assert message in outcome.line
