"""Filling: the same bits for every slice, layout, order, dtype and thread count; errors before any write."""

from __future__ import annotations

import functools
import itertools
import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from goodinit.errors import ArgumentError, TensorError, WrongTypeError
from goodinit.rng import (
    Region,
    check_fillable,
    derive_key,
    fill_normal_,
    fill_truncated_normal_,
    fill_uniform_,
    words,
    writing,
)
from goodinit.rng.elementary import DOUBLE, SINGLE
from goodinit.rng.laws import standard_normal
from goodinit.rng.truncated import standard_values, truncate

KEY = derive_key(0, "test.weight")
Fill = Callable[..., torch.Tensor]
LAWS: dict[str, Fill] = {
    "uniform": lambda t, **k: fill_uniform_(t, KEY, -0.3, 0.7, **k),
    "normal": lambda t, **k: fill_normal_(t, KEY, 0.1, 0.02, **k),
    "truncated": lambda t, **k: fill_truncated_normal_(t, KEY, 0.1, 0.5, -0.7, 1.0, **k),
    "tail": lambda t, **k: fill_truncated_normal_(t, KEY, 0.0, 1.0, 2.0, math.inf, **k),
    "constant": lambda t, **k: fill_truncated_normal_(t, KEY, 3.0, 0.0, -1.0, 2.0, **k),
}
every_law = pytest.mark.parametrize("law", LAWS)
laws = st.sampled_from(list(LAWS))
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SHAPES = st.lists(st.integers(1, 7), max_size=4).map(tuple)


def filled(
    law: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, **options: object
) -> torch.Tensor:
    return LAWS[law](torch.empty(shape, dtype=dtype), **options)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    raw = {2: torch.int16, 4: torch.int32, 8: torch.int64, 1: torch.int8}[a.element_size()]
    return a.dtype == b.dtype and torch.equal(a.contiguous().view(raw), b.contiguous().view(raw))


@st.composite
def parts(draw: st.DrawFn) -> Region:
    shape = draw(SHAPES)
    start = tuple(draw(st.integers(0, n - 1)) for n in shape)
    return Region(shape, start, tuple(draw(st.integers(1, n - a)) for n, a in zip(shape, start, strict=True)))


# What the values are


@given(st.integers(0, 2**64 - 8), st.sampled_from([0, 1, 2**32 - 1]))
def test_uniform_values_are_those_of_their_own_words(start: int, stream: int) -> None:
    region = Region((2**64,), (start,), (7,))
    w = words(KEY, region.indices(), stream=stream)
    single = fill_uniform_(torch.empty(7), KEY, 0.0, 1.0, region=region, stream=stream)
    assert single.tolist() == [(n >> 8) / 2**24 for n in w.tolist()]
    low_words = words(KEY, region.indices(), draw=1, stream=stream)
    double = fill_uniform_(torch.empty(7, dtype=torch.float64), KEY, 0.0, 1.0, region=region, stream=stream)
    wide = [(n << 32 | m) >> 11 for n, m in zip(w.tolist(), low_words.tolist(), strict=True)]
    assert double.tolist() == [n / 2**53 for n in wide]


@given(st.integers(0, 2**62), st.integers(1, 9))
def test_normal_values_are_those_of_the_words_of_their_pair(start: int, length: int) -> None:
    index = np.arange(start, start + length, dtype=np.uint64)
    even = words(KEY, index & ~np.uint64(1))
    odd = words(KEY, index | np.uint64(1))
    first, second = standard_normal(even, odd, SINGLE)
    z = np.where(index % 2 == 0, first, second)
    region = Region((2**63,), (start,), (length,))
    found = fill_normal_(torch.empty(length), KEY, 0.5, 2.0, region=region)
    np.testing.assert_array_equal(found.numpy(), np.float32(0.5) + np.float32(2) * z)


@given(st.integers(0, 2**62), st.integers(1, 9))
def test_truncated_values_are_those_of_their_own_words(start: int, length: int) -> None:
    region = Region((2**63,), (start,), (length,))
    integers = words(KEY, region.indices())
    z = standard_values(integers, truncate(1.0, 2.0, 2.0, 9.0, 32), SINGLE)
    found = fill_truncated_normal_(torch.empty(length), KEY, 1.0, 2.0, 2.0, 9.0, region=region)
    expected = np.clip(np.float32(1) + np.float32(2) * z, np.float32(2), np.float32(9))
    np.testing.assert_array_equal(found.numpy(), expected)
    wide = (integers.astype(np.uint64) << np.uint64(32) | words(KEY, region.indices(), draw=1)) >> np.uint64(
        11
    )
    z = standard_values(wide, truncate(1.0, 2.0, 2.0, 9.0, 53), DOUBLE)
    double = fill_truncated_normal_(
        torch.empty(length, dtype=torch.float64), KEY, 1.0, 2.0, 2.0, 9.0, region=region
    )
    np.testing.assert_array_equal(double.numpy(), np.clip(1.0 + 2.0 * z, 2.0, 9.0))


@pytest.mark.parametrize("law", ["uniform", "truncated", "tail"])
def test_double_draws_agree_with_single_draws_to_single_accuracy(law: str) -> None:
    single, double = filled(law, (20_000,)), filled(law, (20_000,), torch.float64)
    assert (single - double).abs().max() < 1e-6
    assert not torch.equal(single.double(), double)


def test_double_normal_draws_agree_with_single_draws_where_the_word_is_not_tiny() -> None:
    # u = (w + ½)/2³² differs between the precisions by at most half a cell, so z by about 1/w.
    single, double = filled("normal", (20_000,)), filled("normal", (20_000,), torch.float64)
    even = words(KEY, np.arange(0, 20_000, 2, dtype=np.uint64))
    usual = torch.from_numpy(np.repeat(((even > 2**12) & (even < 2**32 - 2**12)), 2))
    assert usual.float().mean() > 0.99
    # r = √(−2 ln u) magnifies the rounding of u near 1, where r is small: there 2⁻²⁴/r, below 2e-5·std.
    assert ((single - double).abs() / 0.02)[usual].max() < 1e-4


@every_law
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_narrow_dtypes_hold_the_single_draw_rounded_once(law: str, dtype: torch.dtype) -> None:
    assert same_bits(filled(law, (513,), dtype), filled(law, (513,)).to(dtype))


def test_streams_names_and_seeds_give_different_values() -> None:
    keys = [derive_key(0, "a"), derive_key(0, "b"), derive_key(1, "a")]
    drawn = [fill_normal_(torch.empty(64), key, 0.0, 1.0, stream=s) for key in keys for s in (0, 1)]
    for a, b in itertools.combinations(drawn, 2):
        assert not (a == b).any()


def test_bounds_hold_in_the_tensors_own_rounding() -> None:
    low, high = -0.1, 0.3
    for dtype in (torch.float32, torch.float64):
        bounds = torch.tensor([low, high], dtype=dtype)
        for fill in (
            functools.partial(fill_uniform_, low=low, high=high),
            functools.partial(fill_truncated_normal_, mean=0.3, std=0.01, low=low, high=high),
        ):
            values = fill(torch.empty(100_000, dtype=dtype), KEY)
            assert values.min() >= bounds[0]
            assert values.max() <= bounds[1]


def test_degenerate_laws_give_their_one_value() -> None:
    assert fill_uniform_(torch.empty(5), KEY, 0.5, 0.5).unique().tolist() == [0.5]
    assert fill_normal_(torch.empty(5), KEY, 0.5, 0.0).unique().tolist() == [0.5]
    assert fill_truncated_normal_(torch.empty(5), KEY, 0.0, 1.0, 2.0, 2.0).unique().tolist() == [2.0]
    assert fill_truncated_normal_(torch.empty(5), KEY, 0.0, 0.0, 1.0, 2.0).unique().tolist() == [1.0]
    assert fill_truncated_normal_(torch.empty(5), KEY, 0.0, 1.0, -math.inf, 101.0).isfinite().all()


# The same bits everywhere


@given(laws, parts(), st.sampled_from(DTYPES))
def test_a_slice_holds_the_slice_of_the_whole(law: str, part: Region, dtype: torch.dtype) -> None:
    whole = filled(law, part.shape, dtype)
    sliced = whole[part.slices_in(Region.whole(part.shape))]
    assert same_bits(filled(law, part.size, dtype, region=part), sliced)


@given(laws, SHAPES, st.randoms(), st.integers(1, 3), st.sampled_from(DTYPES))
def test_strides_do_not_change_values(
    law: str, shape: tuple[int, ...], random: object, step: int, dtype: torch.dtype
) -> None:
    order = list(range(len(shape)))
    random.shuffle(order)  # type: ignore[attr-defined]
    back = [order.index(d) for d in range(len(shape))]
    padded = torch.full([shape[d] * step for d in order], 7.0, dtype=dtype).permute(back)
    strided = padded[tuple(slice(None, None, step) for _ in shape)]
    rest = padded.clone()
    assert same_bits(LAWS[law](strided), filled(law, shape, dtype))
    # Nothing else is touched.
    strided.fill_(7.0)
    assert torch.equal(rest, padded)


@every_law
def test_channels_last_and_sub_views_hold_the_same_values(law: str) -> None:
    shape = (4, 3, 5, 6)
    image = torch.empty(shape).to(memory_format=torch.channels_last)
    assert same_bits(LAWS[law](image), filled(law, shape))
    volume = torch.empty((2, *shape)).to(memory_format=torch.channels_last_3d)
    assert same_bits(LAWS[law](volume), filled(law, (2, *shape)))


@given(laws, parts(), st.integers(1, 30), st.integers(1, 4))
def test_chunks_and_threads_do_not_change_values(law: str, part: Region, chunk: int, threads: int) -> None:
    expected = filled(law, part.size, region=part)
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_CHUNK", chunk)
        patch.setattr(writing, "_THREADED_FROM", 1)
        try:
            torch.set_num_threads(threads)
            found = filled(law, part.size, region=part)
        finally:
            torch.set_num_threads(before)
    assert same_bits(found, expected)


@every_law
def test_a_large_tensor_filled_by_threads_is_the_concatenation_of_its_shards(law: str) -> None:
    shape = (777, 901)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        whole = filled(law, shape)
    finally:
        torch.set_num_threads(before)
    box = Region.whole(shape)
    columns = [box.narrow(1, a, b - a) for a, b in itertools.pairwise((0, 1, 302, 700, 901))]
    shards = [filled(law, part.size, region=part) for part in reversed(columns)]
    assert same_bits(torch.cat(shards[::-1], 1), whole)


@given(laws, st.integers(0, 2**64 - 64), st.integers(1, 64))
def test_a_run_anywhere_in_64_bits_is_the_sum_of_its_elements(law: str, start: int, length: int) -> None:
    run = filled(law, (length,), region=Region((2**64,), (start,), (length,)))
    last = filled(law, (1,), region=Region((2**64,), (start + length - 1,), (1,)))
    assert same_bits(run[-1:], last)


@every_law
@pytest.mark.parametrize("columns", range(1, 10))
def test_rows_that_begin_anywhere_in_their_blocks_are_cut_right(law: str, columns: int) -> None:
    whole = filled(law, (9, 11))
    for first in range(12 - columns):
        part = Region((9, 11), (2, first), (6, columns))
        shard = filled(law, part.size, region=part)
        assert same_bits(shard, whole[2:8, first : first + columns])


@every_law
def test_flushing_denormals_does_not_change_values(law: str) -> None:
    expected = filled(law, (5000,))
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        assert same_bits(filled(law, (5000,)), expected)
    finally:
        torch.set_flush_denormal(False)


def test_shape_alone_does_not_matter_only_the_global_index_does() -> None:
    assert same_bits(filled("normal", (6, 4)).reshape(-1), filled("normal", (24,)))


# Kinds of tensors


def test_parameters_are_filled_in_place_without_a_graph() -> None:
    parameter = torch.nn.Parameter(torch.zeros(8))
    version = parameter._version
    assert fill_normal_(parameter, KEY, 0.0, 1.0) is parameter
    assert parameter.grad_fn is None
    assert parameter.requires_grad
    assert parameter._version > version
    assert (parameter != 0).all()


def test_meta_and_fake_tensors_and_empty_ones_are_left_alone() -> None:
    meta = torch.empty(2**40, device="meta")
    assert fill_normal_(meta, KEY, 0.0, 1.0) is meta
    assert fill_uniform_(torch.empty(3, 0), KEY, 0.0, 1.0).numel() == 0
    with FakeTensorMode():
        fake = torch.empty(4)
        assert fill_truncated_normal_(fake, KEY, 0.0, 1.0, -2.0, 2.0) is fake


def test_a_scalar_tensor_is_element_zero() -> None:
    assert filled("normal", ()).item() == filled("normal", (3,))[0].item()


def test_progress_counts_every_element_once() -> None:
    counts: list[int] = []
    filled("uniform", (300, 1001), progress=counts.append)
    assert sum(counts) == 300 * 1001
    assert len(counts) > 1


@every_law
def test_memory_beyond_the_tensor_stays_under_a_few_megabytes(law: str) -> None:
    tensor = torch.empty(1 << 21)  # 8 MB, and as many bytes again would show
    tracemalloc.start()
    try:
        LAWS[law](tensor)
        peak = tracemalloc.get_traced_memory()[1]
        naive = np.zeros(1 << 21, np.float32)
        assert tracemalloc.get_traced_memory()[0] >= naive.nbytes  # the measure sees NumPy's arrays
    finally:
        tracemalloc.stop()
    assert peak < 4e6


# Errors


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.uint8])
def test_tensors_without_floats_are_refused(dtype: torch.dtype) -> None:
    for law in LAWS:
        with pytest.raises(TensorError, match=f"dtype {dtype}.*use a floating dtype"):
            filled(law, (3,), dtype)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(4),
        torch.zeros(8).unfold(0, 4, 2),
        torch.zeros(9).as_strided((3, 3), (1, 1)),
        torch.zeros(12).as_strided((2, 2, 2), (1, 2, 3)),
    ],
)
def test_tensors_that_overlap_themselves_are_refused_and_left_alone(tensor: torch.Tensor) -> None:
    with pytest.raises(TensorError, match=r"share memory .* clone\(\) it first"):
        fill_normal_(tensor, KEY, 0.0, 1.0)
    assert not tensor.any()


def test_interleaved_strides_without_overlap_are_filled() -> None:
    tensor = torch.zeros(8).as_strided((2, 3), (3, 2))
    assert same_bits(fill_normal_(tensor, KEY, 0.0, 1.0), fill_normal_(torch.empty(2, 3), KEY, 0.0, 1.0))


def test_sparse_tensors_and_other_objects_are_refused() -> None:
    with pytest.raises(TensorError, match=r"layout torch\.sparse_coo: make it dense first"):
        check_fillable(torch.zeros(3).to_sparse())
    with pytest.raises(WrongTypeError, match=r"must be a torch\.Tensor, found ndarray"):
        check_fillable(np.zeros(3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda t: fill_uniform_(t, KEY, 1.0, 0.0), "low must not be above high, found low=1.0 and high=0.0"),
        (lambda t: fill_uniform_(t, KEY, 0.0, math.inf), "high must be finite .*found inf"),
        (lambda t: fill_uniform_(t, KEY, math.nan, 1.0), "low must be a number, found nan"),
        (lambda t: fill_uniform_(t, KEY, -3e38, 3e38), "high - low must be finite"),
        (lambda t: fill_normal_(t, KEY, 0.0, -1.0), "std must not be negative, found -1.0"),
        (lambda t: fill_normal_(t, KEY, math.inf, 1.0), "mean must be finite"),
        (lambda t: fill_normal_(t, KEY, 0.0, 1e39), "std must be finite and at most 3.4"),
        (lambda t: fill_truncated_normal_(t, KEY, 0.0, -1.0, -2.0, 2.0), "std must not be negative"),
        (lambda t: fill_truncated_normal_(t, KEY, 0.0, 1.0, 2.0, -2.0), "low must not be above high"),
        (lambda t: fill_truncated_normal_(t, KEY, 0.0, 1.0, math.nan, 2.0), "low must be a number"),
        (lambda t: fill_truncated_normal_(t, KEY, 0.0, 1.0, math.inf, math.inf), "holds no finite number"),
        (lambda t: fill_truncated_normal_(t, KEY, 0.0, 1.0, 150.0, 160.0), "begins 150 standard deviations"),
        (lambda t: fill_normal_(t, -1, 0.0, 1.0), r"key must be in \[0, 2\*\*64\), found -1"),
        (lambda t: fill_normal_(t, KEY, 0.0, 1.0, stream=2**32), r"stream must be in \[0, 2\*\*32\)"),
        (lambda t: fill_normal_(t, KEY, 0.0, 1.0, region=Region.whole((5,))), r"found \(5,\) and \(4,\)"),
        (lambda t: fill_normal_(t, KEY, 10**400, 1.0), "mean must be a float"),
    ],
)
def test_arguments_outside_their_domain_are_refused_before_any_write(
    fill: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    tensor = torch.zeros(4)
    with pytest.raises(ArgumentError, match=message):
        fill(tensor)
    assert not tensor.any()


def test_arguments_of_the_wrong_type_are_refused() -> None:
    with pytest.raises(WrongTypeError, match="std must be a number, found str"):
        fill_normal_(torch.zeros(4), KEY, 0.0, "wide")  # type: ignore[arg-type]
    with pytest.raises(WrongTypeError, match="key must be an integer, found str"):
        fill_normal_(torch.zeros(4), "key", 0.0, 1.0)  # type: ignore[arg-type]
