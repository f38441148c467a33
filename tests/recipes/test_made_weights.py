"""Weights that the model changes before it uses them, factors at the output, and numbers that stay."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import goodinit

WIDTH, BATCH = 128, 256


class Changed(nn.Module):
    """A layer that reads a function of its parameter."""

    def __init__(self, change: Callable[[Tensor], Tensor], spelling: str = "linear") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH))
        self.change, self.spelling = change, spelling

    def forward(self, x: Tensor) -> Tensor:
        weight = self.change(self.weight)
        if self.spelling == "conv":
            return functional.conv1d(x[..., None], weight[..., None])[..., 0]
        return functional.linear(x, weight) if self.spelling == "linear" else x @ weight.t()


class Scaled(nn.Module):
    """A network whose results are multiplied, divided or left after its last layer."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.head, self.change = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 32), change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.head(torch.tanh(self.body(x))))


def stacked(change: Callable[[Tensor], Tensor], depth: int, spelling: str = "linear") -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [Changed(change, spelling=spelling), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def results(model: nn.Module, x: Tensor, of: type[nn.Module]) -> list[float]:
    """Second moments of what layers of a type put out, over three seeds, with the plan for them."""
    totals: list[list[float]] = []
    for seed in range(3):
        goodinit.initialize(model, example=x[:2], seed=seed)
        found: list[float] = []

        def note(_module: nn.Module, _given: object, out: Tensor, found: list[float] = found) -> None:
            found.append(float(out.detach().square().mean()))

        hooks = [layer.register_forward_hook(note) for layer in model.modules() if isinstance(layer, of)]
        with torch.no_grad():
            model(x)
        for hook in hooks:
            hook.remove()
        totals.append(found)
    return [sum(several) / len(several) for several in zip(*totals, strict=True)]


def signal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


MASK = (signal(WIDTH, WIDTH) > 0.8).float()
CHANGES = {
    "an equalized rate": lambda w: w * (1 / math.sqrt(WIDTH)),
    "a division": lambda w: w / 30.0,
    "a tensor": lambda w: torch.full((), 3.0) * w,
    "a mask": lambda w: w * MASK,
    "a filled mask": lambda w: w.masked_fill(MASK == 0, 0.0),
    "a function": lambda w: 0.3 * torch.tanh(w),
    "a power": lambda w: w**3,
}


@pytest.mark.parametrize("spelling", ["linear", "matmul", "conv"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_weight_puts_out_what_is_planned(change: str, spelling: str) -> None:
    model = stacked(CHANGES[change], 4, spelling)
    # Four layers of width 128: each seed's moments scatter by about a sixth.
    assert results(model, signal(BATCH, WIDTH), Changed) == pytest.approx([1.0] * 4, rel=0.5)


def test_a_constant_factor_leaves_a_deep_chain_mirrored() -> None:
    plain = goodinit.plan(stacked(lambda w: w, 60), example=signal(2, WIDTH))
    scaled = goodinit.plan(stacked(lambda w: w / 8.0, 60), example=signal(2, WIDTH))
    assert scaled["20.weight"].std == pytest.approx(8.0 * plain["20.weight"].std)


def test_a_masked_chain_is_not_mirrored() -> None:
    deep = results(stacked(lambda w: w * MASK, 60), signal(BATCH, WIDTH), Changed)
    assert 0.2 < min(deep[:10]) <= max(deep[:10]) < 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w / w.norm(dim=1, keepdim=True), "size of its own"),
        (lambda w: functional.normalize(w, dim=1), "size of its own"),
        (lambda w: functional.softplus(w) / 4, "size of its own"),
    ],
)
def test_what_follows_a_weight_of_a_size_of_its_own_reads_what_it_puts_out(
    change: Callable[[Tensor], Tensor], words: str
) -> None:
    model = nn.Sequential(*stacked(change, 3), nn.Tanh(), nn.Linear(WIDTH, 64))
    made = goodinit.plan(model, example=signal(2, WIDTH))
    assert words in made["2.weight"].why
    assert results(model, signal(BATCH, WIDTH), nn.Linear) == pytest.approx([1.0], rel=0.3)


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y / math.sqrt(WIDTH),
        lambda y: y * 7.0,
        lambda y: (y / 4).reshape(-1, 4, 8),
        lambda y: -y / 3,
    ],
)
def test_a_factor_at_the_output_counts(change: Callable[[Tensor], Tensor]) -> None:
    model = Scaled(change)
    assert results(model, signal(BATCH, WIDTH), Scaled) == pytest.approx([1.0], rel=0.3)


class Scan(nn.Module):
    """A selective state-space layer: steps, decays and a recursion over positions."""

    def __init__(self, own: bool, raw: bool) -> None:
        super().__init__()
        self.dt = nn.Linear(WIDTH, WIDTH, bias=not raw)
        if own:
            steps = torch.rand(WIDTH, generator=torch.Generator().manual_seed(2)) * 3 - 6
            if raw:
                self.start = nn.Parameter(steps)
            else:
                self.dt.bias.data.copy_(steps)
        self.raw, self.b, self.c = raw, nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8)
        self.rates = nn.Parameter(torch.arange(1.0, 9.0).log().repeat(WIDTH, 1))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        steps = functional.softplus(self.dt(x) + self.start if self.raw else self.dt(x))[..., None]
        decay = torch.exp(steps * -torch.exp(self.rates))
        fed = steps * self.b(x)[:, :, None] * x[..., None]
        state, read = torch.zeros_like(fed[:, 0]), []
        for at in range(x.shape[1]):
            state = decay[:, at] * state + fed[:, at]
            read.append((state * self.c(x)[:, at, None]).sum(-1))
        return self.out(torch.stack(read, 1))


@pytest.mark.parametrize(("own", "raw"), [(False, False), (True, False), (True, True)])
def test_the_steps_of_a_scan_start_where_their_bias_does(own: bool, raw: bool) -> None:
    assert results(Scan(own, raw), signal(8, 12, WIDTH), Scan) == pytest.approx([1.0], rel=0.5)


class Modulated(nn.Module):
    """A norm's result scaled and shifted by a layer that starts at zero."""

    def __init__(self, one: bool) -> None:
        super().__init__()
        self.norm, self.shift = nn.LayerNorm(WIDTH, elementwise_affine=False), nn.Linear(WIDTH, 2 * WIDTH)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)
        self.one, self.layer = one, nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.shift(torch.tanh(x)).chunk(2, -1)
        normal = self.norm(x)
        return self.layer(normal * (1 + scale) + shift if self.one else normal + scale * normal + shift)


class Mixed(nn.Module):
    """Layers' results, each with its share."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.shares, self.layer = nn.Parameter(torch.zeros(4)), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        made = [part(x) for part in self.parts]
        shares = self.shares.softmax(0)
        return self.layer(sum(share * one for share, one in zip(shares, made, strict=True)))


class Shifted(nn.Module):
    """Each position mixed with the one before, feature by feature."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.layer = nn.Parameter(torch.linspace(0, 1, WIDTH)), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        before = functional.pad(x, (0, 0, 1, -1))
        return self.layer(x * self.mix + before * (1 - self.mix))


class Responding(nn.Module):
    """A global response normalization whose gain starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gain = nn.Linear(WIDTH, WIDTH), nn.Parameter(torch.zeros(WIDTH))
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.gelu(self.first(x))
        size = hidden.norm(dim=1, keepdim=True)
        return self.layer(self.gain * (hidden * size / (size.mean(-1, keepdim=True) + 1e-6)) + hidden)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Modulated(True),
        lambda: Modulated(False),
        Mixed,
        Shifted,
        Responding,
    ],
)
def test_zeros_and_shares_that_stay_are_followed_through_sums(build: Callable[[], nn.Module]) -> None:
    model = build()
    found = results(model, signal(16, 32, WIDTH), type(model))
    assert found == pytest.approx([1.0], rel=0.25)


def test_a_layer_after_one_that_starts_at_zero_is_not_planned_at_zero() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 4))
    nn.init.zeros_(model[0].weight)
    made = goodinit.plan(model, example=signal(2, WIDTH))
    assert (made["2.weight"].std or 0) > 0.05
