"""What the drop-in writes: torch's values where nothing is random, one draw of the generator where it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from goodinit import init

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
FP8 = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
OTHERS = [torch.int8, torch.int64, torch.bool, torch.complex64, torch.complex128]

LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "strided": lambda t: t.new_zeros([2 * n for n in t.shape])[tuple(slice(None, None, 2) for _ in t.shape)],
    "shifted": lambda t: t.new_zeros(t.numel() + 3)[3:].view(t.shape),
}

DETERMINISTIC: dict[str, tuple[tuple[int, ...], Callable[[Any, torch.Tensor], torch.Tensor]]] = {
    "constant_": ((3, 4), lambda m, t: m.constant_(t, 1.5)),
    "ones_": ((3, 4), lambda m, t: m.ones_(t)),
    "zeros_": ((3, 4), lambda m, t: m.zeros_(t)),
    "eye_ wide": ((3, 5), lambda m, t: m.eye_(t)),
    "eye_ tall": ((5, 3), lambda m, t: m.eye_(t)),
    "dirac_ 1d": ((4, 2, 3), lambda m, t: m.dirac_(t)),
    "dirac_ 2d, groups": ((6, 4, 3, 2), lambda m, t: m.dirac_(t, 3)),
    "dirac_ 3d, groups": ((4, 1, 2, 3, 4), lambda m, t: m.dirac_(t, groups=2)),
}

RANDOM: dict[str, Callable[..., torch.Tensor]] = {
    "uniform_": init.uniform_,
    "normal_": init.normal_,
    "trunc_normal_": init.trunc_normal_,
    "trunc_normal_ tail": lambda t, **k: init.trunc_normal_(t, 0.0, 1.0, 1.5, math.inf, **k),
    "xavier_uniform_": init.xavier_uniform_,
    "xavier_normal_": init.xavier_normal_,
    "kaiming_uniform_": init.kaiming_uniform_,
    "kaiming_normal_": init.kaiming_normal_,
    "orthogonal_": init.orthogonal_,
    "sparse_": lambda t, **k: init.sparse_(t, 0.5, **k),
}
each_random = pytest.mark.parametrize("fill", RANDOM.values(), ids=RANDOM.keys())


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [*FLOATS, *FP8, *OTHERS])
def test_what_is_not_random_equals_torch(name: str, layout: str, dtype: torch.dtype) -> None:
    shape, fill = DETERMINISTIC[name]
    ours = LAYOUTS[layout](torch.full(shape, 7, dtype=torch.int8).to(dtype))
    theirs = torch.full(shape, 7, dtype=torch.int8).to(dtype)
    state = torch.get_rng_state()
    assert fill(init, ours) is ours
    fill(torch.nn.init, theirs)
    assert ours.dtype == dtype
    assert torch.equal(ours.to(torch.complex128), theirs.to(torch.complex128))
    assert torch.equal(torch.get_rng_state(), state)


@each_random
@pytest.mark.parametrize("dtype", [*FLOATS, *FP8], ids=str)
def test_a_random_fill_keeps_dtype_and_layout_and_touches_nothing_else(
    fill: Callable[..., torch.Tensor], dtype: torch.dtype
) -> None:
    storage = torch.full((12, 8), 77.0).to(dtype)
    before = storage.to(torch.float64).clone()
    view = storage[::2, 1::2]
    stride = view.stride()
    fill(view, generator=generator(0))
    assert (view.dtype, view.stride()) == (dtype, stride)
    inside = torch.zeros(12, 8, dtype=torch.bool)
    inside[::2, 1::2] = True
    after = storage.to(torch.float64)
    assert torch.equal(after[~inside], before[~inside])
    assert (after[inside] != before[inside]).all()
    assert after[inside].isfinite().all()


@each_random
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *FP8], ids=str)
def test_a_narrow_dtype_holds_the_float32_values_rounded_once(
    fill: Callable[..., torch.Tensor], dtype: torch.dtype
) -> None:
    wide = fill(torch.empty(9, 7), generator=generator(3))
    narrow = fill(torch.empty(9, 7).to(dtype), generator=generator(3))
    assert torch.equal(narrow.float(), wide.to(dtype).float())


@each_random
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_changes_no_value(fill: Callable[..., torch.Tensor], layout: str) -> None:
    plain = fill(torch.empty(6, 10), generator=generator(4))
    other = fill(LAYOUTS[layout](torch.empty(6, 10)), generator=generator(4))
    assert torch.equal(plain, other)


@each_random
def test_the_same_seed_gives_the_same_values_and_two_calls_differ(fill: Callable[..., torch.Tensor]) -> None:
    torch.manual_seed(11)
    first, second = fill(torch.empty(8, 8)), fill(torch.empty(8, 8))
    torch.manual_seed(11)
    assert torch.equal(fill(torch.empty(8, 8)), first)
    assert torch.equal(fill(torch.empty(8, 8)), second)
    assert not torch.equal(first, second)
    torch.manual_seed(12)
    assert not torch.equal(fill(torch.empty(8, 8)), first)


@each_random
def test_a_given_generator_is_used_and_the_global_one_left_alone(fill: Callable[..., torch.Tensor]) -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    mine = generator(11)
    given_first, given_second = (fill(torch.empty(8, 8), generator=mine) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(given_first, given_second)
    # A generator and torch.manual_seed mean the same seed.
    assert torch.equal(fill(torch.empty(8, 8)), given_first)


@each_random
def test_a_call_takes_one_draw_whatever_the_size(fill: Callable[..., torch.Tensor]) -> None:
    small, large, by_hand = generator(5), generator(5), generator(5)
    fill(torch.empty(2, 2), generator=small)
    fill(torch.empty(60, 50), generator=large)
    torch.empty((), dtype=torch.int64).random_(generator=by_hand)
    assert torch.equal(small.get_state(), large.get_state())
    assert torch.equal(small.get_state(), by_hand.get_state())


@each_random
def test_no_elements_draw_nothing(fill: Callable[..., torch.Tensor]) -> None:
    mine = generator(5)
    for shape in ((0, 3), (3, 0), (0, 0)):
        empty = torch.empty(shape)
        if "kaiming" in getattr(fill, "__name__", ""):
            with pytest.warns(UserWarning, match="no-op"):
                assert fill(empty, generator=mine) is empty
        else:
            assert fill(empty, generator=mine) is empty
    assert torch.equal(mine.get_state(), generator(5).get_state())


@given(
    rows=st.integers(1, 12),
    cols=st.integers(1, 12),
    seed=st.integers(0, 2**63 - 1),
    scale=st.floats(0.01, 100.0),
)
@settings(deadline=None, max_examples=50)
def test_a_law_scales_as_its_arguments_say(rows: int, cols: int, seed: int, scale: float) -> None:
    """The key names no function: one seed gives every normal law the same draws up to scale."""
    unit = init.normal_(torch.empty(rows, cols, dtype=torch.float64), generator=generator(seed))
    scaled = init.normal_(torch.empty(rows, cols, dtype=torch.float64), std=scale, generator=generator(seed))
    torch.testing.assert_close(scaled, unit * scale)
    xavier = init.xavier_normal_(torch.empty(rows, cols, dtype=torch.float64), generator=generator(seed))
    torch.testing.assert_close(xavier, unit * math.sqrt(2 / (rows + cols)))
    kaiming = init.kaiming_normal_(
        torch.empty(rows, cols, dtype=torch.float64), 0.1, "fan_out", generator=generator(seed)
    )
    torch.testing.assert_close(kaiming, unit * math.sqrt(2 / (1.01 * rows)))


@given(
    shape=st.lists(st.integers(0, 5), min_size=2, max_size=5),
    gain=st.floats(0.0, 10.0),
)
@settings(deadline=None, max_examples=50)
def test_fans_equal_those_of_torch(shape: list[int], gain: float) -> None:
    tensor = torch.empty(shape)
    assert init._calculate_fan_in_and_fan_out(tensor) == torch.nn.init._calculate_fan_in_and_fan_out(tensor)
    for mode in ("fan_in", "FAN_OUT"):
        ours, theirs = (m._calculate_correct_fan(tensor, mode) for m in (init, torch.nn.init))
        assert ours == theirs
        assert type(ours) is int


def test_numbers_may_be_tensors_as_in_torch() -> None:
    plain = init.normal_(torch.empty(5), 0.5, 2.0, generator=generator(1))
    tensors = init.normal_(torch.empty(5), torch.tensor(0.5), torch.tensor(2.0), generator=generator(1))
    assert torch.equal(plain, tensors)
    low = init.uniform_(torch.empty(5), torch.tensor(-1.0), torch.tensor(3), generator=generator(1))
    assert torch.equal(low, init.uniform_(torch.empty(5), -1, 3, generator=generator(1)))


def test_the_private_draws_are_those_of_the_public_names() -> None:
    pairs = [
        (init._no_grad_uniform_, init.uniform_, (-2.0, 3.0)),
        (init._no_grad_normal_, init.normal_, (1.0, 3.0)),
        (init._no_grad_trunc_normal_, init.trunc_normal_, (0.0, 1.0, -1.0, 2.0)),
    ]
    for private, public, numbers in pairs:
        ours = private(torch.empty(7), *numbers, generator=generator(2))
        assert torch.equal(ours, public(torch.empty(7), *numbers, generator=generator(2)))
    assert torch.equal(init._no_grad_zero_(torch.ones(3)), torch.zeros(3))
    assert torch.equal(init._no_grad_fill_(torch.ones(3), 2.0), torch.full((3,), 2.0))
