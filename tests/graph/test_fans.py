"""Fans from use, against connections counted by autograd on the real model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from goodinit.graph import WeightUse, trace
from goodinit.theory import shape_fans


class Formula(nn.Module):
    """A model of one parameter and one line of code."""

    def __init__(self, shape: tuple[int, ...], function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(shape, dtype=torch.float64) + 0.5)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


def counted(model: nn.Module, x: Tensor, inside: tuple[int, int] | None = None) -> tuple[float, float]:
    """Mean connections per output and per input of a linear model, from nonzeros of its Jacobian.

    `inside` limits positions (the last dimensions) to those that borders do not touch.
    """
    positive = {name: p.detach().abs() + 0.1 for name, p in model.double().named_parameters()}

    def run(t: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, positive, (t,))
        return out

    out = run(x)
    links = torch.autograd.functional.jacobian(run, x) != 0
    per_output = links.flatten(out.dim()).sum(-1).double()
    per_input = links.flatten(0, out.dim() - 1).sum(0).double()
    if inside is not None:
        start, length = inside
        for _ in range(x.dim() - 2):
            per_output = _middle(per_output, length)
            per_input = _middle(per_input, length)
        del start
    return float(per_output.mean()), float(per_input.mean())


def _middle(counts: Tensor, length: int) -> Tensor:
    """Cut the middle out of the last dimension and turn the dimensions round by one."""
    start = (counts.shape[-1] - length) // 2
    return counts[..., start : start + length].movedim(-1, 2)


def only(model: nn.Module, x: Tensor) -> WeightUse:
    uses = [use for use in trace(model, x) if use.contracts or use.op == "embedding"]
    assert len(uses) == 1, uses
    return uses[0]


PRODUCTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Callable[[Tensor, Tensor], Tensor]]] = {
    "x @ W": ((1, 5), (5, 7), lambda x, w: x @ w),
    "W @ x": ((5, 1), (7, 5), lambda x, w: w @ x),
    "W @ vector": ((5,), (7, 5), lambda x, w: w @ x),
    "vector @ W": ((5,), (5, 7), lambda x, w: x @ w),
    "x @ W, three dimensions": ((1, 1, 5), (5, 7), lambda x, w: x @ w),
    "W @ x, batched": ((1, 5, 1), (7, 5), lambda x, w: w @ x),
    "linear": ((1, 5), (7, 5), lambda x, w: functional.linear(x, w)),
    "a transposed copy": ((1, 5), (7, 5), lambda x, w: x @ w.t().contiguous()),
    "a slice of a larger weight": ((1, 5), (9, 8), lambda x, w: x @ w[1:8, 2:7].t()),
    "a cast": ((1, 5), (5, 7), lambda x, w: (x.float() @ w.float()).double()),
    "einsum bi,io": ((1, 5), (5, 7), lambda x, w: torch.einsum("bi,io->bo", x, w)),
    "einsum oi,bi": ((1, 5), (7, 5), lambda x, w: torch.einsum("oi,bi->bo", w, x)),
    "einsum into heads": ((1, 5), (5, 2, 3), lambda x, w: torch.einsum("bi,ihk->bhk", x, w)),
    "einsum out of heads": ((1, 2, 3), (2, 3, 7), lambda x, w: torch.einsum("bhk,hko->bo", x, w)),
    "einsum over heads": ((1, 2, 3), (2, 3, 4), lambda x, w: torch.einsum("bhi,hio->bho", x, w)),
    "experts by bmm": ((3, 1, 5), (3, 5, 7), lambda x, w: torch.bmm(x, w)),
    "experts stored transposed": ((3, 1, 5), (3, 7, 5), lambda x, w: torch.bmm(x, w.transpose(1, 2))),
    "product and sum": ((1, 5), (5,), lambda x, w: (x * w).sum(-1)),
    "product and sum into outputs": ((1, 5), (7, 5), lambda x, w: (x[:, None] * w).sum(-1)),
    "a product with itself folded in": ((1, 6), (6, 4), lambda x, w: x @ (w * 2.0)),
    "tensordot": ((1, 2, 3), (2, 3, 7), lambda x, w: torch.tensordot(x, w, 2)),
    "addmm": ((1, 5), (5, 7), lambda x, w: torch.addmm(x.new_zeros(7), x, w)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_fans_of_a_product_are_the_connections_that_autograd_counts(name: str) -> None:
    shape, weight, function = PRODUCTS[name]
    torch.manual_seed(0)
    model, x = Formula(weight, function), torch.rand(shape, dtype=torch.float64)
    use = only(model, x)
    assert (use.fan_in, use.fan_out) == counted(model, x)


CONVOLUTIONS: dict[str, nn.Module] = {
    "conv1d": nn.Conv1d(4, 6, 5),
    "conv1d, stride": nn.Conv1d(4, 6, 5, stride=2),
    "conv1d, stride over kernel": nn.Conv1d(4, 6, 2, stride=3),
    "conv1d, dilated": nn.Conv1d(4, 6, 3, dilation=2, padding=1),
    "conv1d, groups": nn.Conv1d(4, 6, 3, groups=2),
    "conv1d, depthwise": nn.Conv1d(4, 8, 3, groups=4),
    "transposed": nn.ConvTranspose1d(4, 6, 3),
    "transposed, stride": nn.ConvTranspose1d(4, 6, 4, stride=2),
    "transposed, groups and stride": nn.ConvTranspose1d(4, 6, 6, stride=3, groups=2),
    "conv2d": nn.Conv2d(2, 3, 3),
    "conv2d, uneven": nn.Conv2d(2, 3, (3, 2), stride=(2, 1)),
    "conv2d, depthwise": nn.Conv2d(3, 3, 3, padding=1, groups=3),
    "transposed2d, depthwise": nn.ConvTranspose2d(2, 2, 4, stride=2, groups=2),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_fans_of_a_convolution_are_the_connections_that_autograd_counts(name: str) -> None:
    model = CONVOLUTIONS[name]
    flat = "2d" not in name
    x = torch.rand((1, model.in_channels, *((30,) if flat else (14, 14))))
    model = model.float()
    use = only(model, x)
    # Six is a whole number of every stride in the table.
    inside = counted(model, x.double(), (0, 6))
    assert use.fan_in == pytest.approx(inside[0], rel=1e-12)
    assert use.fan_out == pytest.approx(inside[1], rel=1e-12)
    assert use.groups == model.groups
    assert use.stride == model.stride


def test_fans_guessed_from_the_shape_fail_the_same_comparison() -> None:
    # What torch.nn.init would say. If these agreed, the comparison above would prove nothing.
    cases: list[tuple[nn.Module, Tensor, tuple[int, int] | None]] = [
        (Formula((5, 7), lambda x, w: x @ w), torch.rand(1, 5, dtype=torch.float64), None),
        (CONVOLUTIONS["conv1d, depthwise"], torch.rand(1, 4, 30, dtype=torch.float64), (0, 6)),
        (CONVOLUTIONS["transposed, stride"], torch.rand(1, 4, 30, dtype=torch.float64), (0, 6)),
        (CONVOLUTIONS["conv1d, stride"], torch.rand(1, 4, 30, dtype=torch.float64), (0, 6)),
    ]
    for model, x, inside in cases:
        guess = shape_fans(model.weight.shape)
        assert (guess.fan_in, guess.fan_out) != counted(model, x, inside)


def test_dimensions_are_told_apart_in_the_parameters_own_order() -> None:
    x = torch.rand(3, 1, 5, dtype=torch.float64)
    use = only(Formula((3, 7, 5), lambda x, w: torch.bmm(x, w.transpose(1, 2))), x)
    assert (use.contracted, use.output, use.batch) == ((2,), (1,), (0,))
    use = only(Formula((5, 2, 3), lambda x, w: torch.einsum("bi,ihk->bhk", x, w)), x[0])
    assert (use.contracted, use.output, use.batch) == ((0,), (1, 2), ())


def test_bilinear_counts_both_inputs() -> None:
    use = next(u for u in trace(nn.Bilinear(3, 5, 2), (torch.rand(4, 3), torch.rand(4, 5))) if u.contracts)
    assert use.op == "bilinear"
    assert use.fan_in == 15.0
    # 8 inputs: each of the 3 meets 5 partners in 2 outputs, each of the 5 meets 3.
    assert use.fan_out == (3 * 5 * 2 + 5 * 3 * 2) / 8


def test_an_embedding_connects_one_row() -> None:
    use = only(nn.Embedding(11, 6), torch.tensor([[1, 2, 3]]))
    assert (use.op, use.fan_in, use.fan_out) == ("embedding", 1.0, 6.0)
    use = only(nn.EmbeddingBag(11, 6, mode="sum"), torch.tensor([[1, 2, 3], [4, 5, 6]]))
    assert (use.op, use.fan_in, use.fan_out) == ("embedding", 3.0, 6.0)


def test_the_same_fans_in_half_precision_and_under_autocast() -> None:
    class Autocast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(5, 7)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out: Tensor = self.inner(x)
            return out

    for model, x in (
        (nn.Linear(5, 7).bfloat16(), torch.rand(2, 5).bfloat16()),
        (Autocast(), torch.rand(2, 5)),
    ):
        use = only(model, x)
        assert (use.fan_in, use.fan_out) == (5.0, 7.0)
        assert (use.contracted, use.output) == ((1,), (0,))


def test_packed_weights_fall_into_the_blocks_that_are_used_apart() -> None:
    def split(x: Tensor, w: Tensor) -> Tensor:
        gate, up = (x @ w).chunk(2, dim=-1)
        return torch.sigmoid(gate) * up

    gate, up = trace(Formula((5, 14), split), torch.rand(2, 5, dtype=torch.float64))["weight"]
    assert [(s.start, s.length) for s in gate.block or ()] == [(0, 5), (0, 7)]
    assert [(s.start, s.length) for s in up.block or ()] == [(0, 5), (7, 7)]
    assert (gate.fan_in, gate.fan_out, gate.gate, up.gate) == (5.0, 7.0, "gate", "value")


def test_weights_that_are_packed_before_use_keep_their_own_fans() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.rand(4, 5)), nn.Parameter(torch.rand(3, 5))

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x, torch.cat([self.a, self.b]))

    graph = trace(Packed(), torch.rand(2, 5))
    assert [(graph[n][0].fan_in, graph[n][0].fan_out) for n in ("a", "b")] == [(5.0, 4.0), (5.0, 3.0)]


def test_interleaved_blocks_are_told_apart() -> None:
    def attend(x: Tensor, w: Tensor) -> Tensor:
        q, k, v = (x @ w).view(1, 6, 4, 9).transpose(1, 2).chunk(3, dim=-1)
        return functional.scaled_dot_product_attention(q, k, v)

    uses = trace(Formula((5, 36), attend), torch.rand(1, 6, 5, dtype=torch.float64))["weight"]
    assert [use.attention for use in uses] == ["q", "k", "v"]
    spans = [(use.block or ())[1] for use in uses]
    assert [(s.start, s.length, s.repeats, s.period) for s in spans] == [
        (0, 3, 4, 9),
        (3, 3, 4, 9),
        (6, 3, 4, 9),
    ]
    assert {use.fan_out for use in uses} == {12.0}


@pytest.mark.parametrize("transposed", [False, True])
def test_two_weights_that_are_used_as_one_have_the_fans_of_two_layers(transposed: bool) -> None:
    class LowRank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Parameter(torch.rand(7, 5))
            self.a, self.b = nn.Parameter(torch.rand(2, 5)), nn.Parameter(torch.rand(7, 2))

        def forward(self, x: Tensor) -> Tensor:
            weight = self.base + 0.5 * (self.b @ self.a)
            return x @ weight.t() if transposed else functional.linear(x, weight)

    graph = trace(LowRank(), torch.rand(3, 5))
    found = {use.name: use for use in graph}
    assert (found["base"].fan_in, found["base"].fan_out) == (5.0, 7.0)
    assert (found["a"].fan_in, found["a"].fan_out) == (5.0, 2.0)
    assert (found["b"].fan_in, found["b"].fan_out) == (2.0, 7.0)
    for name in "ab":
        assert (found[name].contracted, found[name].output) == ((1,), (0,))
        assert "mm" in found[name].through
