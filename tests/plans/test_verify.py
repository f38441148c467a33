"""`verify` passes what follows the plan and finds every planted fault."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from goodinit.errors import PlanMismatchError, WrongTypeError
from goodinit.initializers import (
    Blocks,
    Constant,
    DeltaOrthogonal,
    Initializer,
    Keep,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    ZeroRows,
)
from goodinit.plans import Plan, initialize, plan
from goodinit.plans.goodness import follows
from goodinit.plans.verify import FALSE_ALARM_RATE


def one_row(initializer: Initializer, shape: tuple[int, ...], dtype: torch.dtype = torch.float32):
    """A module with one parameter, its plan, and the parameter filled by it."""
    module = nn.Module()
    module.weight = nn.Parameter(torch.ones(shape, dtype=dtype))
    made = plan(module, overrides={"weight": initializer})
    made.apply_(module)
    return module, made


LAWS = [
    Normal(0.1, 2.0),
    Uniform(-0.3, 0.2),
    TruncatedNormal(0.0, 0.02, 2.0),
    TruncatedNormal(1.0, 0.5, 0.5),
    Sparse(0.4, 0.5),
    Orthogonal(1.3),
    Orthogonal(groups=2),
    Blocks(((32, Normal()), (96, Uniform()))),
    Blocks(((64, Orthogonal()), (64, Constant(2.0)))),
    ZeroRows(Normal(), (0, 5)),
    ZeroRows(Orthogonal(1.3), (0, 5)),
    ZeroRows(Sparse(0.5), (0, 5)),
    ZeroRows(Blocks(((100, Normal()), (28, Uniform()))), (0, 101)),
    Blocks(((28, Normal()), (100, ZeroRows(Uniform(), (0,))))),
]


@pytest.mark.parametrize("initializer", LAWS, ids=repr)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn]
)
def test_what_follows_the_plan_passes_in_every_dtype(initializer: Initializer, dtype: torch.dtype) -> None:
    module, made = one_row(initializer, (128, 64), dtype)
    outcome = made.verify(module)
    assert outcome.passed, outcome.failures
    assert made.verify(module, seed=0).passed


def doubled(weight: torch.Tensor) -> None:
    weight.mul_(2.0)


def scaled(weight: torch.Tensor) -> None:
    weight.mul_(1.1)


def shifted(weight: torch.Tensor) -> None:
    weight.add_(0.2 * weight.std())


def nan(weight: torch.Tensor) -> None:
    weight.view(-1)[7] = float("nan")


def halves_copied(weight: torch.Tensor) -> None:
    weight[1::2] = weight[::2]


def rows_repeated(weight: torch.Tensor) -> None:
    weight[:] = weight[:, :1]


def sorted_values(weight: torch.Tensor) -> None:
    weight.view(-1)[:] = weight.reshape(-1).sort().values


def made_uniform(weight: torch.Tensor) -> None:
    weight.copy_((torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) - 0.5) * 12**0.5)


def made_normal(weight: torch.Tensor) -> None:
    weight.copy_(
        torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).clamp(-2.9, 2.9) * 12**-0.5
        + 0.5
    )


FAULTS: list[tuple[Initializer, Callable[[torch.Tensor], None], str]] = [
    (Normal(), doubled, "std"),
    (Normal(), scaled, "std"),
    (Normal(), shifted, "mean"),
    (Normal(), nan, "finite"),
    (Normal(), sorted_values, "independence"),
    (Normal(), rows_repeated, "independence"),
    (Normal(), made_uniform, "Kolmogorov–Smirnov"),
    (Uniform(), doubled, "bounds"),
    (Uniform(), made_normal, "bounds"),
    (TruncatedNormal(0.0, 1.0, 2.0), scaled, "bounds"),
    (Orthogonal(), scaled, "orthogonal"),
    (Orthogonal(groups=2), halves_copied, "orthogonal"),
    (Constant(0.5), scaled, "exact"),
    (Sparse(0.5), lambda weight: weight.add_(1e-3), "zeros"),
    (Sparse(0.5), lambda weight: weight.mul_(torch.arange(128).remainder(5).ne(0)[:, None]), "zeros"),
    (Sparse(0.5), lambda weight: weight.zero_(), "zeros"),
    (ZeroRows(Orthogonal(), (3,)), scaled, "orthogonal"),
    (ZeroRows(Orthogonal(), (3,)), lambda weight: weight[7].zero_(), "orthogonal"),
    (ZeroRows(Orthogonal(), (3,)), lambda weight: weight[3].add_(1e-3), "exact"),
    (ZeroRows(Normal(), (3,)), lambda weight: weight.add_(1e-3), "exact"),
    (Blocks(((64, Normal()), (64, Normal(0.0, 2.0)))), lambda weight: weight.copy_(weight.flip(0)), "std"),
]


@pytest.mark.parametrize(("initializer", "fault", "test"), FAULTS)
def test_every_planted_fault_is_found(initializer: Initializer, fault, test: str) -> None:
    module, made = one_row(initializer, (128, 64))
    assert made.verify(module).passed
    with torch.no_grad():
        fault(module.weight)
    outcome = made.verify(module)
    assert not outcome
    assert outcome.failures[0].name == "weight"
    assert outcome.failures[0].test == test
    assert not made.verify(module, seed=0).passed


def test_a_kernel_with_values_beside_its_centre_is_found() -> None:
    module, made = one_row(DeltaOrthogonal(), (16, 16, 3))
    assert made.verify(module).passed
    with torch.no_grad():
        module.weight[0, 0, 0] = 1e-3
    assert "beside the kernel's centre" in made.verify(module).failures[0].detail


def test_the_false_alarm_rate_is_the_stated_one() -> None:
    # At a level that can be counted: of 800 tests of true draws at level 0.05 at most 5 %
    # (plus four standard errors) fail; Bonferroni makes it fewer. A wrong std nearly always fails.
    rng = torch.Generator().manual_seed(0)
    alarms = faults = 0
    for _ in range(800):
        values = torch.randn(200, generator=rng)
        alarms += not follows(Normal(), values, 0.05).passed
        faults += not follows(Normal(0.0, 1.3), values, 0.05).passed
    assert alarms <= 800 * 0.05 + 4 * np.sqrt(800 * 0.05)
    assert alarms >= 800 * 0.01  # a test that never fails would be no test
    assert faults > 780


def test_the_copies_of_an_encoder_are_found() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 3)
    outcome = plan(encoder, "torch").verify(encoder)
    assert not outcome
    assert "layers.0.linear1.weight" in outcome.failures[0].detail or "copy" in outcome.failures[0].detail
    made = initialize(encoder)
    assert made.verify(encoder).passed


def test_kept_rows_are_compared_with_nothing_but_must_be_finite() -> None:
    module, made = one_row(Keep(), (4, 4))
    assert made.verify(module).passed
    with torch.no_grad():
        module.weight[0, 0] = float("inf")
    assert not made.verify(module)


def test_a_state_dict_is_verified_like_a_model() -> None:
    tied = nn.Sequential(nn.Embedding(30, 16), nn.Linear(16, 30, bias=False))
    tied[1].weight = tied[0].weight
    made = initialize(tied, seed=4)
    state = dict(tied.state_dict())
    assert made.verify(state, seed=4).passed
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    assert made.verify(wrapped, seed=4).passed
    del state["0.weight"]  # the tied twin is enough
    assert made.verify(state).passed
    del state["1.weight"]
    with pytest.raises(PlanMismatchError, match=r"in the plan, not in the weights: 0\.weight"):
        made.verify(state)
    with pytest.raises(WrongTypeError, match="expected a module or a state dict, found list"):
        made.verify([])


def test_one_wrong_bit_is_found_with_the_seed() -> None:
    module, made = one_row(Normal(), (8, 8))
    with torch.no_grad():
        module.weight[3, 3] = torch.nextafter(module.weight[3, 3], torch.tensor(9.0))
    assert made.verify(module).passed
    outcome = made.verify(module, seed=0)
    assert outcome.failures[0].detail == "1 of 64 elements differ from seed 0"


def test_a_meta_model_does_not_pass() -> None:
    with torch.device("meta"):
        layer = nn.Linear(3, 3)
    assert not plan(layer).verify(layer).passed


def test_the_rate_is_shared_over_rows_and_stated() -> None:
    made = plan(nn.Linear(2, 2))
    module = nn.Linear(2, 2)
    made.apply_(module)
    assert made.verify(module).false_alarm_rate == FALSE_ALARM_RATE == 1e-6
    assert isinstance(made, Plan)


def test_a_lone_uniform_value_near_the_mean_raises_no_alarm() -> None:
    # One lone draw in 100,000 is as near as this: nothing to remark on at a rate of 1e-6.
    layer = nn.Linear(1, 1)
    made = plan(layer, "torch")
    with torch.no_grad():
        layer.weight.fill_(1e-5)
    assert made.verify(layer)
    with torch.no_grad():
        layer.weight.fill_(1.0001)  # and none is as far
    assert not made.verify(layer)


@pytest.mark.parametrize("std", [1e-3, 2e-2, 1.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_grid_as_coarse_as_the_law_raises_no_alarm(std: float, dtype: torch.dtype) -> None:
    module, made = one_row(Normal(0.0, std), (512, 256), dtype)
    assert made.verify(module).passed
    other, wrong = one_row(Normal(0.0, 2 * std), (512, 256), dtype)
    assert not made.verify(other)
    assert wrong.verify(other).passed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_what_only_has_the_scale_of_an_orthogonal_matrix_is_found(dtype: torch.dtype) -> None:
    module, made = one_row(Orthogonal(), (200, 200), dtype)
    assert made.verify(module).passed
    gaussian, _ = one_row(Normal(0.0, 200**-0.5), (200, 200), dtype)
    assert made.verify(gaussian).failures[0].test == "orthogonal"
    with torch.no_grad():
        module.weight.zero_()
    assert not made.verify(module)
