"""The short way of small plain tensors is taken by them alone."""

from __future__ import annotations

from unittest import mock

import pytest
import torch

from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.rng import Region, fill_normal_, fill_uniform_, native

pytest.importorskip("goodinit._kernels", reason="the kernels are not built here", exc_type=ImportError)


def test_whatever_is_not_common_is_left_to_the_general_case() -> None:
    plain = torch.zeros(4, 4)
    with torch.inference_mode():
        inference = torch.zeros(4)
    for tensor in (
        plain.T[1:],
        plain[:, 1],
        plain.to("meta"),
        plain.to_sparse(),
        plain.int(),
        plain.to(torch.float8_e4m3fn),
        torch._neg_view(plain),
        torch.zeros(0),
        inference,
        plain.as_subclass(type("Other", (torch.Tensor,), {})),
        [0.0],
    ):
        assert not native.common(tensor, 0, 0, 0.0, 1.0)
    for key, stream in ((-1, 0), (2**64, 0), (True, 0), (0.0, 0), (0, 2**32), (0, None)):
        assert not native.common(plain, key, stream, 0.0, 1.0)
    for number in (float("nan"), float("inf"), -float("inf"), 3.5e38, True, "1", None, torch.tensor(1.0)):
        assert not native.common(plain, 0, 0, 0.0, number)
    with mock.patch.object(native, "instruction_set", return_value=None):
        assert not native.common(plain, 0, 0, 0.0, 1.0)
    seen = list[bool]()
    torch.vmap(lambda row: (seen.append(native.common(row, 0, 0, 0.0, 1.0)), row)[1])(plain)
    assert seen == [False]
    assert native.common(plain, 0, 0, 0.0, 1.0)
    assert native.common(torch.nn.Parameter(plain), 0, 0, 0, 1)


def test_a_part_of_a_tensor_is_not_taken_for_the_whole() -> None:
    part = fill_normal_(torch.empty(3, 4), 9, 0.0, 1.0, region=Region((6, 4), (3, 0), (3, 4)))
    assert torch.equal(part, fill_normal_(torch.empty(6, 4), 9, 0.0, 1.0)[3:])
    with pytest.raises(ArgumentError, match=r"region\.size must be the tensor's shape"):
        fill_normal_(torch.empty(3, 4), 9, 0.0, 1.0, region=Region.whole((4, 3)))
    for fill in (fill_normal_, fill_uniform_):
        with pytest.raises(WrongTypeError, match=r"tensor must be a torch\.Tensor"):
            fill([0.0], 9, 0.0, 1.0, region=Region.whole((1,)))
        with pytest.raises(WrongTypeError, match="must be a number"):
            fill(torch.empty(3), 9, "a", 1.0)
