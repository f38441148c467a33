"""Fans against counting: every connection of a small layer is counted by autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from goodinit.errors import ArgumentError
from goodinit.theory import fans
from goodinit.theory.fans import Fans


def counted(layer: nn.Module, inputs: torch.Tensor, margin: int) -> Fans:
    """Mean number of connections per output, and per input `margin` pixels off the border.

    All weights are 1, so an output of ones counts its inputs and a gradient its outputs.
    """
    nn.init.ones_(layer.weight)
    inputs = torch.ones_like(inputs).requires_grad_()
    out = layer(inputs)
    out.sum().backward()
    inner = [slice(margin, size - margin) for size in inputs.shape[2:]]
    return Fans(float(out.detach().mean()), float(inputs.grad[(..., *inner)].mean()))


# (in, out, kernel, groups, stride): sizes and margins below are multiples of all strides, so that
# whole periods are averaged.
LAYERS = [
    (4, 6, (3,), 1, (1,)),
    (4, 6, (3,), 2, (2,)),
    (8, 8, (5,), 8, (3,)),
    (2, 4, (3, 3), 1, (1, 1)),
    (4, 4, (3, 5), 4, (2, 1)),
    (4, 8, (4, 2), 2, (2, 2)),
    (2, 2, (1, 1), 1, (2, 2)),
    (2, 2, (2, 3, 2), 2, (1, 2, 1)),
]
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@pytest.mark.parametrize(("inputs", "outputs", "kernel", "groups", "stride"), LAYERS)
def test_fans_of_a_convolution_are_what_counting_gives(inputs, outputs, kernel, groups, stride):
    dims = len(kernel)
    layer = CONV[dims](inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
    found = counted(layer, torch.empty(1, inputs, *[42 if dims < 3 else 24] * dims), 6)
    expected = fans.conv_fans(inputs, outputs, kernel, groups, stride)
    assert found.fan_in == pytest.approx(expected.fan_in)
    assert found.fan_out == pytest.approx(expected.fan_out)


@pytest.mark.parametrize(("inputs", "outputs", "kernel", "groups", "stride"), LAYERS)
def test_fans_of_a_transposed_convolution_are_what_counting_gives(inputs, outputs, kernel, groups, stride):
    dims = len(kernel)
    layer = TRANSPOSED[dims](inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
    nn.init.ones_(layer.weight)
    x = torch.ones(1, inputs, *[18 if dims < 3 else 12] * dims, requires_grad=True)
    out = layer(x)
    # Whole periods of the stride, well inside.
    window = tuple(slice(6, 6 + 6 * step) for step in stride)
    expected = fans.conv_transpose_fans(inputs, outputs, kernel, groups, stride)
    assert float(out.detach()[(..., *window)].mean()) == pytest.approx(expected.fan_in)
    out.sum().backward()
    assert float(x.grad[(..., *[slice(4, 8)] * dims)].mean()) == pytest.approx(expected.fan_out)


def test_counting_catches_the_shape_guess_of_torch():
    found = counted(nn.Conv2d(8, 8, 3, groups=8, bias=False), torch.empty(1, 8, 24, 24), 6)
    guess = fans.shape_fans((8, 1, 3, 3))
    assert found == fans.conv_fans(8, 8, (3, 3), 8)
    assert guess == Fans(9.0, 72.0)
    assert found.fan_out != guess.fan_out


def test_circular_padding_counts_the_same():
    layer = nn.Conv1d(2, 3, 5, padding=2, padding_mode="circular", bias=False)
    assert counted(layer, torch.empty(1, 2, 9), 0) == fans.conv_fans(2, 3, 5)


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_linear_layer_is_a_convolution_of_one_tap(outputs, inputs):
    assert fans.linear_fans(outputs, inputs) == fans.conv_fans(inputs, outputs, 1)
    assert fans.linear_fans(outputs, inputs) == fans.conv_transpose_fans(inputs, outputs, (1, 1))


@given(
    st.integers(1, 8),
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=3),
    st.integers(1, 4),
)
def test_transposing_swaps_the_two_fans(a, b, window, groups):
    kernel, stride = zip(*window, strict=True)
    one = fans.conv_fans(a * groups, b * groups, kernel, groups, stride)
    other = fans.conv_transpose_fans(b * groups, a * groups, kernel, groups, stride)
    assert (one.fan_in, one.fan_out) == (other.fan_out, other.fan_in)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_the_shape_guess_is_torchs(shape):
    found = fans.shape_fans(shape)
    assert (found.fan_in, found.fan_out) == nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


def test_fewer_than_two_dimensions_raise_in_torchs_words():
    with pytest.raises(ValueError, match="fewer than 2 dimensions") as theirs:
        nn.init._calculate_fan_in_and_fan_out(torch.empty(3))
    with pytest.raises(ValueError, match="fewer than 2 dimensions") as ours:
        fans.shape_fans((3,))
    assert str(ours.value) == str(theirs.value)


def test_bilinear_fans_are_what_counting_gives():
    layer = nn.Bilinear(3, 5, 2, bias=False)
    nn.init.ones_(layer.weight)
    x1, x2 = torch.ones(1, 3, requires_grad=True), torch.ones(1, 5, requires_grad=True)
    out = layer(x1, x2)
    out.sum().backward()
    expected = fans.bilinear_fans(3, 5, 2)
    assert float(out.detach().mean()) == expected.fan_in
    assert float(torch.cat([x1.grad, x2.grad], 1).mean()) == pytest.approx(expected.fan_out)
    assert fans.bilinear_fans(0, 0, 2) == Fans(0.0, 0.0)


def test_a_look_up_has_one_input_however_long_the_table():
    table = torch.ones(1000, 4)
    one_hot = torch.zeros(1, 1000)
    one_hot[0, 7] = 1
    assert float((one_hot @ table).mean()) == fans.embedding_fans(1000, 4).fan_in == 1.0
    assert fans.embedding_fans(1000, 4, bag=3).fan_in == 3.0


def test_modes_pick_the_fan_they_name():
    both = Fans(2.0, 6.0)
    assert [both.of(mode) for mode in ("fan_in", "fan_out", "fan_avg")] == [2.0, 6.0, 4.0]
    with pytest.raises(ArgumentError, match="'fan_sideways'"):
        both.of("fan_sideways")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fans.conv_fans(3, 4, 3, groups=2), "groups is 2, which does not divide in_channels=3"),
        (lambda: fans.conv_fans(4, 4, (3, 3), stride=(1, 1, 1)), "give one stride per kernel dimension"),
        (lambda: fans.conv_fans(4, 4, 3, stride=0), "every stride must be at least 1"),
        (lambda: fans.conv_fans(4, 4, 3, groups=0), "groups is 0"),
        (lambda: fans.linear_fans(-1, 4), "out_features is -1"),
        (lambda: fans.embedding_fans(4, 4, bag=math.nan), "bag is nan"),
    ],
)
def test_impossible_sizes_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
