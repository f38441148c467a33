"""One table of contracts that every kind of initializer keeps.

`CASES` must name every registered kind: a new kind enters by adding a line.
"""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from goodinit.errors import ArgumentError
from goodinit.initializers import (
    KINDS,
    Blocks,
    ChronoBias,
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    Initializer,
    Keep,
    LooksLinear,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    ZeroRows,
    fill_,
)
from goodinit.rng import Region, derive_key

KEY = derive_key(0, "weight")

# (initializer, a shape it fills with many elements)
CASES: list[tuple[Initializer, tuple[int, ...]]] = [
    (Constant(-0.75), (300, 300)),
    (Normal(0.5, 2.0), (300, 300)),
    (Uniform(-1.0, 3.0), (300, 300)),
    (TruncatedNormal(1.0, 0.5, 1.5), (300, 300)),
    (VarianceScaling(2.0, "fan_in", "normal"), (300, 300)),
    (VarianceScaling(1.0, "fan_out", "uniform"), (300, 300)),
    (VarianceScaling(1.0, "fan_avg", "truncated_normal"), (300, 300)),
    (Orthogonal(1.5), (300, 250)),
    (Orthogonal(1.0, groups=3), (330, 20, 10)),
    (DeltaOrthogonal(2.0), (80, 60, 3, 5)),
    (LooksLinear(1.5), (240, 200)),
    (LooksLinear(1.0, "outputs"), (90, 70, 3, 3)),
    (LooksLinear(1.0, "inputs"), (90, 70, 3, 3)),
    (ChronoBias(200.0), (80000,)),
    (ChronoBias(50.0, 3), (60000,)),
    (Identity(3.0), (250, 270)),
    (Dirac(2), (200, 120, 3)),
    (Sparse(0.3, 2.0), (300, 300)),
    (Blocks(((100, Normal(0.0, 1.0)), (200, Uniform(2.0, 4.0)))), (300, 300)),
    (Blocks(((100, Orthogonal()), (200, Constant(1.0))), dim=1), (300, 300)),
    (ZeroRows(Normal(1.0, 1.0), (0, 7)), (250, 300)),
    (Keep(), (30, 30)),
]
IDS = [f"{type(initializer).__name__}-{index}" for index, (initializer, _) in enumerate(CASES)]
each_case = pytest.mark.parametrize(("initializer", "shape"), CASES, ids=IDS)


def resolved(initializer: Initializer, shape: tuple[int, ...]) -> Initializer:
    return initializer.resolve(shape, fan_in=float(shape[-1]), fan_out=float(shape[0]))


def filled(
    initializer: Initializer, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    return resolved(initializer, shape).fill_(torch.zeros(shape, dtype=dtype), KEY)


def test_every_registered_kind_has_a_case() -> None:
    assert {type(initializer).__name__ for initializer, _ in CASES} == set(KINDS)


@each_case
def test_values_are_frozen_hashable_and_comparable(initializer: Initializer, shape: tuple[int, ...]) -> None:
    twin = dataclasses.replace(initializer)
    assert twin == initializer
    assert hash(twin) == hash(initializer)
    for field in dataclasses.fields(initializer):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(initializer, field.name, 1.0)


@each_case
def test_json_gives_the_same_value_back(initializer: Initializer, shape: tuple[int, ...]) -> None:
    text = json.dumps(initializer.to_json(), allow_nan=False)
    assert Initializer.from_json(json.loads(text)) == initializer
    assert eval(repr(initializer), dict(KINDS)) == initializer  # the repr is what one would write


@pytest.mark.parametrize(("initializer", "shape"), [case for case in CASES if case[0].writes])
def test_filled_values_have_the_stated_moments_and_bounds(
    initializer: Initializer, shape: tuple[int, ...]
) -> None:
    values = filled(initializer, shape).double()
    value = resolved(initializer, shape)
    mean, std = value.moments(shape)
    low, high = value.bounds
    assert float(values.min()) >= low - 1e-6
    assert float(values.max()) <= high + 1e-6
    if value.deterministic or isinstance(value, Orthogonal | DeltaOrthogonal | LooksLinear):
        # The sum of squares of a structure is exact, whatever was drawn.
        assert float(values.square().mean()) == pytest.approx(mean**2 + std**2, rel=1e-5)
    else:
        assert moments_agree(values, mean, std)
        # The same check finds a scale that is 5 % off and a mean that is off by 5 % of the std.
        assert not moments_agree(values, mean, 1.05 * std)
        assert not moments_agree(values, mean + 0.05 * std, std)


def moments_agree(values: torch.Tensor, mean: float, std: float) -> bool:
    """Mean within 5.2 and second central moment within 5.2 standard errors: false alarms below 1e-6.

    The error of the second moment uses the sample's own kurtosis; exact structures have none.
    """
    count = values.numel()
    centred = values - mean
    second = float(centred.square().mean())
    spread = float((centred.square() - second).std()) / math.sqrt(count)
    close_mean = abs(float(centred.mean())) <= 5.2 * std / math.sqrt(count) + 1e-7
    return close_mean and abs(second - std**2) <= 5.2 * spread + 1e-6 * std**2


@each_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_narrow_dtypes_hold_the_float32_values_rounded_once(
    initializer: Initializer, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    wide, narrow = filled(initializer, shape), filled(initializer, shape, dtype)
    assert torch.equal(wide.to(dtype).float(), narrow.float())


@each_case
def test_float64_values_agree_with_float32_values(initializer: Initializer, shape: tuple[int, ...]) -> None:
    wide, narrow = filled(initializer, shape, torch.float64), filled(initializer, shape)
    torch.testing.assert_close(wide.float(), narrow, rtol=1e-4, atol=2e-5)


@each_case
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_part_holds_the_values_of_the_whole(
    initializer: Initializer, shape: tuple[int, ...], data: st.DataObject
) -> None:
    whole = filled(initializer, shape)
    start = tuple(data.draw(st.integers(0, length - 1)) for length in shape)
    size = tuple(
        data.draw(st.integers(1, length - first)) for length, first in zip(shape, start, strict=True)
    )
    part = Region(shape, start, size)
    got = resolved(initializer, shape).fill_(torch.zeros(size), KEY, part=part)
    assert torch.equal(got, whole[part.slices_in(Region.whole(shape))])


@each_case
def test_memory_layout_does_not_change_values(initializer: Initializer, shape: tuple[int, ...]) -> None:
    strided = torch.zeros((*shape[:-1], 2 * shape[-1]))[..., ::2]
    if len(shape) > 1:
        strided = strided.transpose(0, 1).clone(memory_format=torch.preserve_format).transpose(0, 1)
    got = resolved(initializer, shape).fill_(strided, KEY)
    assert torch.equal(got, filled(initializer, shape))


@each_case
def test_empty_and_meta_tensors_are_left_alone(initializer: Initializer, shape: tuple[int, ...]) -> None:
    meta = torch.empty(shape, device="meta")
    assert resolved(initializer, shape).fill_(meta, KEY) is meta
    if not isinstance(initializer, Blocks):  # the lengths of blocks are those of one shape
        empty = torch.empty((0, *shape[1:]))
        assert initializer.resolve((0, *shape[1:]), 1.0, 1.0).fill_(empty, KEY) is empty


@each_case
def test_parameters_are_filled_in_place_without_recording_gradients(
    initializer: Initializer, shape: tuple[int, ...]
) -> None:
    parameter = torch.nn.Parameter(torch.zeros(shape))
    assert resolved(initializer, shape).fill_(parameter, KEY) is parameter
    assert parameter.is_leaf
    assert parameter.grad_fn is None


@each_case
def test_progress_counts_each_element_once(initializer: Initializer, shape: tuple[int, ...]) -> None:
    counts: list[int] = []
    resolved(initializer, shape).fill_(torch.zeros(shape), KEY, progress=counts.append)
    assert sum(counts) == math.prod(shape)


@each_case
def test_another_key_gives_other_values_just_where_there_is_randomness(
    initializer: Initializer, shape: tuple[int, ...]
) -> None:
    other = resolved(initializer, shape).fill_(torch.zeros(shape), derive_key(1, "weight"))
    assert torch.equal(other, filled(initializer, shape)) == initializer.deterministic


@each_case
def test_the_torch_engine_follows_the_same_distribution(
    initializer: Initializer, shape: tuple[int, ...]
) -> None:
    value = resolved(initializer, shape)
    if isinstance(initializer, ChronoBias | DeltaOrthogonal | LooksLinear):
        with pytest.raises(ArgumentError, match=r"torch\.nn\.init has nothing like"):
            value.fill_by_torch_(torch.zeros(shape))
        return
    torch.manual_seed(0)
    values = value.fill_by_torch_(torch.zeros(shape))
    if initializer.deterministic:
        assert torch.equal(values, filled(initializer, shape))
    else:
        assert moments_agree(values.double(), *value.moments(shape))


@pytest.mark.parametrize(
    ("initializer", "law"),
    [
        (Normal(0.5, 2.0), stats.norm(0.5, 2.0)),
        (Uniform(-1.0, 3.0), stats.uniform(-1.0, 4.0)),
        (
            TruncatedNormal(1.0, 0.5, 1.5),
            stats.truncnorm(-1.5, 1.5, 1.0, TruncatedNormal(1.0, 0.5, 1.5).sigma),
        ),
    ],
)
def test_laws_agree_with_scipy_in_moments_and_distribution(
    initializer: Initializer, law: stats.rv_continuous
) -> None:
    assert math.isclose(initializer.moments(())[0], law.mean(), rel_tol=1e-12)
    assert math.isclose(initializer.moments(())[1], law.std(), rel_tol=1e-9)
    assert initializer.bounds == pytest.approx(law.support())
    values = filled(initializer, (300, 300)).flatten().numpy()
    assert stats.kstest(values, law.cdf).pvalue > 1e-6
    assert stats.kstest(values * 1.03, law.cdf).pvalue < 1e-6  # the planted fault


@pytest.mark.parametrize("cutoff", [1e-4, 9.9e-4, 1.01e-3, 0.5, 2.0, 5.0, 40.0, math.inf])
def test_a_truncated_normal_has_its_std_after_truncation(cutoff: float) -> None:
    initializer = TruncatedNormal(0.0, 1.0, cutoff)
    if cutoff < 0.1:
        assert math.isclose(initializer.bounds[1], math.sqrt(3), rel_tol=1e-6)  # nearly uniform
    else:
        exact = stats.truncnorm(-cutoff, cutoff).std() if math.isfinite(cutoff) else 1.0
        assert math.isclose(initializer.sigma * exact, 1.0, rel_tol=1e-9)


def test_fill_takes_fans_from_the_shape_and_numbers_as_constants() -> None:
    weight = fill_(torch.empty(64, 16, 3, 3), VarianceScaling(1.0, "fan_in", "uniform"), seed=0, name="w")
    assert float(weight.abs().max()) <= math.sqrt(3 / 144)
    assert float(weight.abs().max()) > 0.99 * math.sqrt(3 / 144)
    assert torch.equal(fill_(torch.empty(2), 0.5, seed=0, name="w"), torch.full((2,), 0.5))


def test_fill_depends_on_seed_and_name_alone() -> None:
    def draw(seed: int, name: str) -> torch.Tensor:
        return fill_(torch.empty(5), Normal(), seed=seed, name=name)

    first = draw(0, "a")
    torch.manual_seed(123)
    assert torch.equal(first, draw(0, "a"))
    assert not torch.equal(first, draw(1, "a"))
    assert not torch.equal(first, draw(0, "b"))
