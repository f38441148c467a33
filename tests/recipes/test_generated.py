"""Layers whose weights another layer makes: hypernetworks and mixtures of kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from goodinit.graph import trace
from goodinit.plans import Plan, plan


class Hyper(nn.Module):
    """Layers whose matrices one context makes, each by a map of its own or all by one."""

    def __init__(self, how: str, width: int, depth: int, residual: bool = False) -> None:
        super().__init__()
        self.how, self.width, self.residual = how, width, residual
        self.body = nn.Sequential(nn.Linear(64, 128), nn.ReLU())
        size = width * width
        sizes = [depth * size] if how == "packed" else [size] * depth
        self.makers = nn.ModuleList(nn.Linear(128, size) for size in sizes)
        self.seen = nn.ModuleList(nn.Identity() for _ in range(depth))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        made = [
            maker(self.body(context)).unflatten(-1, (-1, self.width, self.width)) for maker in self.makers
        ]
        weights = [weight for several in made for weight in several.unbind(1)]
        for weight, seen in zip(weights, self.seen, strict=True):
            if self.how == "einsum":
                y = torch.einsum("boi,bi->bo", weight, x)
            elif self.how == "left":
                y = (x[:, None] @ weight)[:, 0]
            elif self.how == "product":
                y = (weight * x[:, None]).sum(-1)
            else:
                y = torch.bmm(weight, x[..., None])[..., 0]
            x = x + seen(y) if self.residual else torch.relu(seen(y))
        return x


class Kernels(nn.Module):
    """Convolutions whose kernels are mixtures, by shares that depend on the example."""

    def __init__(self, how: str, channels: int) -> None:
        super().__init__()
        self.how = how
        self.routes = nn.ModuleList(nn.Linear(channels, 4) for _ in range(3))
        self.banks = nn.ParameterList(torch.randn(4, channels, channels, 3, 3) for _ in range(3))
        self.seen = nn.ModuleList(nn.Identity() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        rows, channels = x.shape[:2]
        for route, bank, seen in zip(self.routes, self.banks, self.seen, strict=True):
            logits = route(x.mean((2, 3)))
            shares = logits.sigmoid() if self.how == "einsum" else logits.softmax(-1)
            if self.how == "matmul":
                kernel = (shares @ bank.flatten(1)).view(-1, channels, 3, 3)
            elif self.how == "sum":
                kernel = (shares[..., None, None, None, None] * bank).sum(1).flatten(0, 1)
            else:
                kernel = torch.einsum("bk,koihw->boihw", shares, bank).flatten(0, 1)
            y = nn.functional.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel, groups=rows)
            x = torch.relu(seen(y.unflatten(1, (rows, channels))[0]))
        return x


def put_out(model: nn.Module, found: Plan, *examples: Tensor, seeds: int = 6) -> list[float]:
    """Mean second moments of each generated layer's results, over fills and inputs."""
    seen: dict[int, list[float]] = {}
    layers = model.seen
    assert isinstance(layers, nn.ModuleList)

    def hook(at: int):  # type: ignore[no-untyped-def]
        return lambda _module, _inputs, out: seen.setdefault(at, []).append(float(out.square().mean()))

    hooks = [layer.register_forward_hook(hook(at)) for at, layer in enumerate(layers)]
    for seed in range(seeds):
        found.apply_(model, seed=seed)
        torch.manual_seed(seed)
        with torch.no_grad():
            model(*(torch.randn_like(example) for example in examples))
    for each in hooks:
        each.remove()
    return [sum(values) / len(values) for _, values in sorted(seen.items())]


# Six fills of one context's body scatter by about 15 % a layer; the makers' unit weights put out 32 and more.
@pytest.mark.parametrize("how", ["matmul", "einsum", "left", "product"])
@pytest.mark.parametrize(("width", "depth"), [(32, 2), (64, 3)])
def test_generated_layers_put_out_1(how: str, width: int, depth: int) -> None:
    model, examples = Hyper(how, width, depth), (torch.zeros(64, width), torch.zeros(64, 64))
    for moment in put_out(model, plan(model, example=examples), *examples):
        assert 1 / 2 < moment < 2


def test_one_layer_that_makes_all_weights_makes_each_of_its_own_size() -> None:
    model, examples = Hyper("packed", 48, 3), (torch.zeros(64, 48), torch.zeros(64, 64))
    found = plan(model, example=examples)
    for moment in put_out(model, found, *examples):
        assert 1 / 2 < moment < 2
    assert "weights that sum 48 inputs" in found["makers.0.weight"].why


def test_generated_branches_add_their_share() -> None:
    model, examples = Hyper("matmul", 48, 4, residual=True), (torch.zeros(64, 48), torch.zeros(64, 64))
    first = put_out(model, plan(model, example=examples), *examples)[0]
    assert 1 / 2 < 4 * first < 2


@pytest.mark.parametrize("how", ["matmul", "sum", "einsum"])
def test_a_mixture_of_kernels_has_the_fans_of_its_convolution(how: str) -> None:
    model, example = Kernels(how, 24), torch.zeros(8, 24, 12, 12)
    found = plan(model, example=(example,))
    assert [found[f"banks.{at}"].fan_in for at in range(3)] == [4 * 24 * 9] * 3
    for moment in put_out(model, found, example):
        assert 1 / 2.5 < moment < 2.5
    with torch.device("meta"):
        blank = Kernels(how, 24)
    again = plan(blank, example=(example,))
    assert [again[f"banks.{at}"].std for at in range(3)] == [found[f"banks.{at}"].std for at in range(3)]


class Attends(nn.Module):
    """Queries, keys and values, of which a feature map makes weights of no layer."""

    def __init__(self, over: str) -> None:
        super().__init__()
        self.maps, self.over = nn.Linear(32, 96), over
        self.out = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.maps(x).chunk(3, -1)
        if self.over == "linear":
            mixed = torch.relu(q) @ (torch.relu(k).transpose(-1, -2) @ v)
        elif self.over == "softmax":
            mixed = (q @ k.transpose(-1, -2) / 32**0.5).softmax(-1) @ v
        else:
            mixed = q * torch.sigmoid(k) + v
        out: Tensor = self.out(mixed)
        return out


@pytest.mark.parametrize("over", ["linear", "softmax", "gate"])
def test_only_what_is_contracted_along_features_is_a_generated_weight(over: str) -> None:
    graph = trace(Attends(over), torch.zeros(2, 10, 32))
    assert all(sink.kind != "generated" for use in graph for sink in use.sinks)


@pytest.mark.parametrize("shape", [(2, 10, 32), (1, 40, 32)])
def test_linear_attention_is_called_attention(shape: tuple[int, ...]) -> None:
    model, example = Attends("linear"), torch.zeros(shape)
    found = plan(model, example=example)
    assert "attention's output projection" in found["out.weight"].why
    assert "an attention without softmax" in found["out.weight"].why
    assert "gate" not in found["maps.weight"].why
    assert "attention" not in plan(Attends("gate"), example=example)["out.weight"].why
