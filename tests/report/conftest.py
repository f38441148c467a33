"""Records as `check` makes them, written by hand so that every field has a known value."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from goodinit.records import (
    AttentionSignal,
    Finding,
    Histogram,
    JacobianSpectrum,
    LayerSignal,
    Moments,
    ParameterSignal,
    PlanRecord,
    Prediction,
    Report,
    RowRecord,
)

Sample = Callable[..., Report]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,900",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


def moments(second: float, count: int = 4096, nonfinite: int = 0) -> Moments:
    root = math.sqrt(second) if second > 0 else 0.0
    return Moments(count, 0.1 * root, second, 0.99 * root, nonfinite)


def bell(spread: float, bins: int = 48) -> Histogram:
    counts = tuple(round(4000 * math.exp(-0.5 * (6 * (i + 0.5) / bins - 3) ** 2)) for i in range(bins))
    return Histogram(-3 * spread, 3 * spread, counts)


def near(value: float, width: float = 3.0) -> Prediction:
    return Prediction(value, value / width, value * width)


def _layer(index: int, depth: int, factor: float, back: float, name: str, kind: str) -> LayerSignal:
    wobble = 1 + 0.25 * math.sin(1.7 * index)
    weighty = kind == "Linear"
    second = factor ** (index // 2) * wobble * (1.0 if weighty else 0.5)
    gradient = back ** ((depth - index) // 2) * wobble * 1e-2
    return LayerSignal(
        index=index,
        name=name,
        kind=kind,
        call=0,
        shape=(64, 128),
        output=moments(second),
        gradient=moments(gradient),
        zeros=0.0 if weighty else 0.5,
        units=128,
        dead=None if weighty else index % 5,
        saturated=None if weighty else 0.02 * (index % 7),
        always_on=None if weighty else 1,
        varying=second * 0.9 ** (index / 2),
        parametric=weighty,
        correlation=1 - 0.93 ** (index / 2),
        rank=40 * 0.95 ** (index / 2) + 1,
        rows=64,
        underflow=0.0,
        unit_moments=tuple(
            0.0 if not weighty and unit == index % 13 else second * (1 + 0.6 * math.sin(unit * (index + 3)))
            for unit in range(64)
        ),
        unit_gradients=tuple(gradient * (1 + 0.8 * math.cos(unit * (index + 5))) for unit in range(64)),
        histogram=bell(math.sqrt(second)),
        gradient_histogram=bell(math.sqrt(gradient)),
        predicted=near(factor ** (index // 2), 1.6 + 0.02 * index) if weighty else None,
        predicted_gradient=near(back ** ((depth - index) // 2), 1.6 + 0.02 * (depth - index))
        if weighty
        else None,
    )


def _parameter(index: int, name: str, back: float, depth: int) -> ParameterSignal:
    gradient = 1e-4 * back ** ((depth - index) // 2)
    return ParameterSignal(
        name=name,
        shape=(128, 128),
        dtype="float32",
        trainable=True,
        value=moments(1 / 128, 16384),
        gradient=moments(gradient, 16384),
        largest=0.4,
        kind="Linear",
        underflow=0.0,
        histogram=bell(0.088 * (1 + 0.1 * math.sin(index))),
        gradient_histogram=bell(math.sqrt(gradient)),
    )


def finding(**changes: object) -> Finding:
    made = Finding(
        code="GI104",
        title="Vanishing gradient",
        severity="error",
        where=("blocks.0.linear", "blocks.29.linear"),
        measure="second moment of gradients at layer outputs, first layer over last",
        effect=8.296e-9,
        interval=(1.92e-10, 3.58e-7),
        expected=(5.3e-4, 392.6),
        cause="On the way back the gradient's second moment changes by a factor of 0.54 per layer over 31 "
        "layers, from 1.06e+00 to 8.80e-09: weight scale times activation slope is below one.",
        cure='goodinit.initialize(model, "kaiming_normal")',
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def _report(depth: int = 30, factor: float = 0.92, back: float = 0.54, *findings: Finding) -> Report:
    kinds = ("Linear", "ReLU")
    names = [
        (f"blocks.{i}.{kind.lower() if kind == 'Linear' else 'act'}", kind)
        for i in range(depth)
        for kind in kinds
    ]
    layers = tuple(_layer(i, 2 * depth, factor, back, name, kind) for i, (name, kind) in enumerate(names))
    parameters = tuple(_parameter(2 * i, f"blocks.{i}.linear.weight", back, 2 * depth) for i in range(depth))
    attention = tuple(
        AttentionSignal(
            f"encoder.layers.{i}.self_attn",
            0,
            8,
            64.0,
            0.97 - 0.02 * i,
            tuple(0.99 - 0.02 * i - 0.03 * ((head * (i + 2)) % 8) for head in range(8)),
            0.4 + 0.1 * i,
            0.0,
        )
        for i in range(6)
    )
    nodes = tuple(0.02 * 1.55**i for i in range(10))
    jacobian = JacobianSpectrum(
        "input",
        "output",
        128,
        10,
        0.31,
        0.04,
        2.1,
        nodes,
        (0.05, 0.08, 0.1, 0.13, 0.16, 0.16, 0.13, 0.1, 0.06, 0.03),
        8,
    )
    rows = tuple(
        RowRecord(
            f"blocks.{i}.linear.{part}",
            (128, 128) if part == "weight" else (128,),
            "Normal(mean=0.0, std=0.125)" if part == "weight" else "Constant(value=0.0)",
            0.0,
            0.125 if part == "weight" else 0.0,
            128.0,
            128.0,
            "Linear: each output sums 128 inputs; He's gain √2 offsets the half that ReLU removes"
            if part == "weight"
            else "Linear bias: zero, so that the weights alone set the scale",
        )
        for i in range(depth)
        for part in ("weight", "bias")
    )
    return Report(
        model="ResidualMixer",
        batch="float32(64, 128), given",
        loss=2.3051,
        layers=layers,
        parameters=parameters,
        findings=findings,
        notes=("The weight of 'head' is all zeros, as a last layer may be.",),
        versions={"torch": "2.13.0", "python": "3.11.7"},
        attention=attention,
        jacobians=(jacobian,),
        effective_depth=0.4 * depth,
        plan=PlanRecord("ResidualMixer", "kaiming_normal", rows),
    )


@pytest.fixture(scope="session")
def sample() -> Sample:
    """Make a report of a plain network from a depth, factors a layer, and findings."""
    return _report


@pytest.fixture(scope="session")
def found() -> Callable[..., Finding]:
    """Make a finding with some fields changed."""
    return finding


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()
