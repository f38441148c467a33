"""What `auto` makes of parameters that are no layer's own: tokens, starts, modulated kernels, biases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from goodinit.errors import UncoveredError
from goodinit.graph import places, trace
from goodinit.initializers import Constant, Normal
from goodinit.plans import plan
from goodinit.recipes.elementwise import unknown_use


class Generator(nn.Module):
    """A learned start, two modulated convolutions with biases, and an output: a small StyleGAN2."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.rand(1, 8, 4, 4))
        self.kernels = nn.ParameterList(nn.Parameter(torch.rand(1, 8, 8, 3, 3)) for _ in range(2))
        self.biases = nn.ParameterList(nn.Parameter(torch.rand(8)) for _ in range(2))
        self.styles = nn.ModuleList(nn.Linear(16, 8) for _ in range(2))
        self.out = nn.Conv2d(8, 3, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.start.repeat(len(z), 1, 1, 1)
        for kernel, bias, style in zip(self.kernels, self.biases, self.styles, strict=True):
            weight = kernel * (1 + style(z)).view(-1, 1, 8, 1, 1)
            weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4], keepdim=True) + 1e-8)
            y = functional.conv2d(x.reshape(1, -1, 4, 4), weight.view(-1, 8, 3, 3), padding=1, groups=len(z))
            x = functional.leaky_relu(y.view(-1, 8, 4, 4) + bias.view(1, -1, 1, 1), 0.2)
        out: Tensor = self.out(x)
        return out


def test_a_generator_with_styles_is_planned_by_use() -> None:
    model, z = Generator(), torch.randn(16, 16)
    made = plan(model, "auto", example=z)
    assert made["start"].initializer == Normal(0.0, 1.0)
    kernel = made["kernels.0"]
    assert isinstance(kernel.initializer, Normal)
    assert (kernel.fan_in, kernel.fan_out) == (72.0, 72.0)
    assert "changed by mul before it is used" in kernel.why
    assert made["biases.0"].initializer == Constant(0.0)
    made.apply_(model, seed=1)
    with torch.no_grad():
        size = float(model(z).square().mean())
    assert 0.02 < size < 5.0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_mask_token_needs_no_override(device: str) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.token, self.out = nn.Linear(6, 6), nn.Parameter(torch.rand(6)), nn.Linear(6, 2)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            x = self.inner(x)
            x[mask] = self.token
            out: Tensor = self.out(x)
            return out

    with torch.device(device):
        model = Masked()
    row = plan(model, "auto", example=(torch.rand(2, 5, 6), torch.rand(2, 5) > 0.5))["token"]
    assert row.initializer == Normal(0.0, 0.02)
    assert "tokens" in row.why


def test_looked_up_biases_of_experts_start_at_zero() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.rand(3, 6, 8)), nn.Parameter(torch.rand(3, 8))

        def forward(self, x: Tensor, chosen: Tensor) -> Tensor:
            return torch.bmm(x[None].expand(3, -1, -1), self.weight) + self.bias[chosen][:, None]

    row = plan(Experts(), "auto", example=(torch.rand(5, 6), torch.arange(3)))["bias"]
    assert row.initializer == Constant(0.0)
    assert "each of 3 maps in a stack" in row.why


def test_a_factored_weight_keeps_unit_scale_through_its_factors() -> None:
    class Factored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (
                nn.Parameter(torch.rand(*sizes)) for sizes in ((256, 128), (128, 192), (192, 256))
            )

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(torch.relu(x), self.a @ self.b @ self.c)

    model, x = Factored(), torch.randn(256, 256)
    made = plan(model, "auto", example=x)
    # Only the factor that reads the rectified data makes up for the half that it lost.
    assert made["c"].initializer.std == pytest.approx(math.sqrt(2 / 256))
    assert made["b"].initializer.std == pytest.approx(math.sqrt(1 / 192))
    assert made["a"].initializer.std == pytest.approx(math.sqrt(1 / 128))
    made.apply_(model, seed=1)
    with torch.no_grad():
        # The product of 65,536 outputs of width ≥ 128 fluctuates by about 10 %.
        assert float(model(x).square().mean()) == pytest.approx(1.0, rel=0.35)
        model.c.mul_(1.5)
        assert float(model(x).square().mean()) > 1.35


def test_standardized_weights_are_said_to_be_changed_before_use() -> None:
    class Standardized(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            mean = self.weight.mean((1, 2, 3), keepdim=True)
            spread = self.weight.std((1, 2, 3), keepdim=True) + 1e-5
            return functional.conv2d(x, (self.weight - mean) / spread, self.bias)

    row = plan(Standardized(3, 8, 3), "auto", example=torch.rand(2, 3, 8, 8))["weight"]
    assert (row.fan_in, row.fan_out) == (27.0, 72.0)
    assert "changed by sub, div before it is used" in row.why
    assert "has a size of its own" in row.why


def test_the_clause_for_an_uncovered_parameter_says_what_happens_to_it() -> None:
    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.angle = nn.Parameter(torch.zeros(4, device="meta"))
            self.spare = nn.Parameter(torch.zeros(4, device="meta"))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.exp(self.angle).cos()

    bent = Bent()
    angle, spare = places(bent)
    graph = trace(bent, torch.rand(2, 4))
    assert unknown_use(graph, angle) == "used after exp, cos, so its author alone knows good values"
    assert "never reaches it" in unknown_use(graph, spare)
    assert "no example was given" in unknown_use(None, angle)
    with pytest.raises(UncoveredError, match="angle"):
        plan(bent, "auto", example=torch.rand(2, 4))
