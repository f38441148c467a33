"""Bad input is refused with the argument's name, what was found and the cure."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from goodinit.errors import ArgumentError, GoodinitError, TensorError, UnknownNameError, WrongTypeError
from goodinit.initializers import (
    Blocks,
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    Initializer,
    LooksLinear,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    XavierNormal,
    ZeroRows,
    as_initializer,
    fill_,
)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Normal(std=-1), ArgumentError, "Normal: std must be at least 0, found -1"),
        (lambda: Normal(mean=math.nan), ArgumentError, "Normal: mean must be finite, found nan"),
        (lambda: Normal(std="1"), WrongTypeError, "Normal: std must be a number, found '1'"),
        (lambda: Normal(std=True), WrongTypeError, "Normal: std must be a number, found True"),
        (lambda: Constant(math.inf), ArgumentError, "Constant: value must be finite"),
        (lambda: Constant(10**400), ArgumentError, "Constant: value must fit a float"),
        (lambda: as_initializer(-(10**400)), ArgumentError, "Constant: value must fit a float"),
        (lambda: Uniform(1, 0), ArgumentError, r"high must be at least low, found low=1\.0, high=0\.0"),
        (lambda: TruncatedNormal(cutoff=0), ArgumentError, r"cutoff must be above 0 \(in sigmas\), found 0"),
        (lambda: TruncatedNormal(cutoff=math.nan), ArgumentError, "cutoff must be above 0"),
        (lambda: TruncatedNormal(cutoff=None), WrongTypeError, "cutoff must be a number, found None"),
        (lambda: VarianceScaling(-1), ArgumentError, "gain must be at least 0"),
        (
            lambda: VarianceScaling(mode="fan_inn"),
            UnknownNameError,
            r"mode must be one of fan_in, fan_out, fan_avg, found 'fan_inn' \(did you mean 'fan_in'\?\)",
        ),
        (
            lambda: VarianceScaling(distribution="gauss"),
            UnknownNameError,
            "distribution must be one of normal",
        ),
        (lambda: Orthogonal(groups=0), ArgumentError, "groups must be at least 1, found 0"),
        (lambda: Dirac(groups=1.5), WrongTypeError, "groups must be an integer, found 1.5"),
        (lambda: LooksLinear(mirror="rows"), UnknownNameError, "mirror must be one of both, outputs"),
        (lambda: LooksLinear().moments((3, 4)), TensorError, "dimension 0 must be even"),
        (lambda: LooksLinear().moments((4,)), TensorError, "at least 2 dimensions"),
        (lambda: Sparse(1.5), ArgumentError, r"sparsity is a share in \[0, 1\], found 1.5"),
        (lambda: Blocks(()), ArgumentError, "at least one part"),
        (lambda: Blocks(((1.5, Normal()),)), WrongTypeError, r"each part is \(length, initializer\)"),
        (lambda: ZeroRows(Normal(), (-1,)), ArgumentError, "rows are integers from 0"),
        (lambda: ZeroRows(1.0, (0,)), WrongTypeError, "initializer must be an Initializer, found 1.0"),
        (lambda: as_initializer("zero"), WrongTypeError, "expected an Initializer, a number or 'keep'"),
        (lambda: XavierNormal().std, ArgumentError, r"resolve\(shape, fan_in, fan_out\)"),
        (
            lambda: XavierNormal().resolve((3,)),
            ArgumentError,
            r"needs fan_avg, which is unknown for shape \(3,\)",
        ),
        (lambda: Orthogonal().moments((3,)), TensorError, r"at least 2 dimensions, found shape \(3,\)"),
        (lambda: Orthogonal(groups=2).moments((3, 2)), TensorError, "dim 0 must be divisible by groups=2"),
        (lambda: Identity().moments((3, 2, 2)), TensorError, "needs a tensor of 2 dimensions"),
        (lambda: DeltaOrthogonal().moments((3, 2)), TensorError, "3 to 5 dimensions"),
        (lambda: ZeroRows(Normal(), (9,)).moments((3, 2)), TensorError, "there is no row 9"),
        (lambda: Blocks(((2, Normal()),)).moments((3,)), TensorError, "dimension 0 must have length 2"),
        (lambda: Initializer.from_json([]), WrongTypeError, "an object with a 'kind'"),
        (
            lambda: Initializer.from_json({"kind": "Norml"}),
            UnknownNameError,
            r"no initializer of kind 'Norml' \(did you mean 'Normal'\?\)",
        ),
        (
            lambda: Initializer.from_json({"kind": "Normal", "sd": 1}),
            ArgumentError,
            "Normal has no field 'sd'",
        ),
        (lambda: fill_([1.0], Normal(), seed=0, name="w"), WrongTypeError, "tensor must be a torch.Tensor"),
        (
            lambda: fill_(torch.empty(2, dtype=torch.int), Normal(), seed=0, name="w"),
            TensorError,
            "torch.int32",
        ),
        (lambda: fill_(torch.empty(1).expand(3), Normal(), seed=0, name="w"), TensorError, "share memory"),
        (lambda: fill_(torch.empty(2), Normal(), seed=-1, name="w"), ArgumentError, "seed"),
    ],
)
def test_bad_input_is_named(make: Callable[[], object], error: type[GoodinitError], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("initializer", [0.5, Identity(), Normal()])
def test_fill_refuses_what_it_cannot_fill_whatever_the_initializer(initializer: object) -> None:
    with pytest.raises(TensorError, match=r"dtype torch\.int64"):
        fill_(torch.zeros(3, 3, dtype=torch.int64), initializer, seed=0, name="w")
    with pytest.raises(TensorError, match="share memory"):
        fill_(torch.zeros(1, 3).expand(3, 3), initializer, seed=0, name="w")
