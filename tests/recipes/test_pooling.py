"""What arrives behind pools and at the edges of convolutions, against measurement on real networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import goodinit
from goodinit.graph import WeightUse
from goodinit.graph.replaying import replayed_moment


def measured(model: nn.Module, example: Tensor, draws: int = 4) -> dict[str, float]:
    """The mean second moment of the result of each layer with a weight, over draws of the plan."""
    found: dict[str, list[float]] = {}

    def noted(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda module, read, out: found.setdefault(name, []).append(float(out.square().mean()))

    hooks = [
        module.register_forward_hook(noted(name))
        for name, module in model.named_modules()
        if getattr(module, "weight", None) is not None
    ]
    made = goodinit.plan(model, "auto", example=example)
    torch.manual_seed(1)
    for seed in range(draws):
        made.apply_(model, seed=seed)
        with torch.no_grad():
            model(torch.randn(example.shape))
    for hook in hooks:
        hook.remove()
    return {name: math.fsum(values) / draws for name, values in found.items()}


def pyramid(pool: Callable[[], nn.Module], function: Callable[[], nn.Module], first: bool) -> nn.Module:
    """Four convolutions, each activated and pooled, in either order."""
    layers: list[nn.Module] = []
    for at in range(4):
        after = [function(), pool()] if first else [pool(), function()]
        layers += [nn.Conv2d(32 if at else 3, 32, 3, padding=1), *after]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 32))


@pytest.mark.parametrize(
    ("pool", "function", "first"),
    [
        (lambda: nn.MaxPool2d(2), nn.ReLU, True),
        (lambda: nn.MaxPool2d(2), nn.ReLU, False),
        (lambda: nn.MaxPool2d(2), nn.Tanh, True),
        (lambda: nn.AvgPool2d(2), nn.Tanh, True),
        (lambda: nn.AvgPool2d(2), nn.ReLU, False),
        (lambda: nn.MaxPool2d(3, 2, 1), nn.GELU, True),
    ],
)
def test_a_plain_network_with_pools_holds_its_signals(
    pool: Callable[[], nn.Module], function: Callable[[], nn.Module], first: bool
) -> None:
    found = measured(pyramid(pool, function, first), torch.randn(16, 3, 16, 16), 6)
    begins = found.pop("0")
    found = {name: value / (begins if name in ("3", "6", "9") else 1.0) for name, value in found.items()}
    # Thirty-two channels and a common part of all places: one draw is within a factor of 1.5, six of 1.4.
    # Uncounted, six of these nets end between 0.02 and 10.
    assert all(0.6 < value < 1.65 for value in found.values()), found


class Points(nn.Module):
    """The largest, or the mean, of what a layer makes of each of many points."""

    def __init__(self, pick: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.each, self.all, self.pick = nn.Linear(16, 128), nn.Linear(128, 256), pick

    def forward(self, x: Tensor) -> Tensor:
        return self.all(self.pick(self.each(x)))


@pytest.mark.parametrize(
    "pick",
    [
        lambda x: x.max(1)[0],
        lambda x: x.amax(1),
        lambda x: functional.relu(x).max(dim=1).values,
        lambda x: functional.adaptive_max_pool1d(x.transpose(1, 2), 1).flatten(1),
        lambda x: functional.relu(x).mean(1),
        lambda x: functional.avg_pool1d(functional.relu(x).transpose(1, 2), 64).squeeze(-1),
    ],
)
def test_one_of_many_places_is_counted_however_it_is_written(pick: Callable[[Tensor], Tensor]) -> None:
    assert measured(Points(pick), torch.randn(64, 64, 16))["all"] == pytest.approx(1, rel=0.3)


def test_an_average_of_many_places_is_not_taken_to_cancel() -> None:
    """Noise loses all but 1/64 in it; what places of real data have in common, nobody knows beforehand."""
    made = goodinit.plan(Points(lambda x: x.mean(1)), "auto", example=torch.zeros(64, 64, 16))
    assert made["all.weight"].std == pytest.approx(math.sqrt(9 / 128), rel=0.05)


def test_pooled_data_are_taken_as_standardized() -> None:
    model = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(64, 8, 1))
    made = goodinit.plan(model, "auto", example=torch.zeros(2, 64, 8, 8))
    assert made["1.weight"].std == pytest.approx(1 / 8)


def test_a_batch_that_would_cost_too_much_gives_the_plan_of_a_small_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, runs = pyramid(lambda: nn.MaxPool2d(2), nn.ReLU, True), []

    def noted(flow, value, *rest):  # type: ignore[no-untyped-def]
        runs.append(flow.tape.values[value].shape[0])
        return replayed_moment(flow, value, *rest)

    monkeypatch.setattr("goodinit.graph.arrivals.replayed_moment", noted)
    whole = goodinit.plan(model, "auto", example=torch.zeros(16, 3, 16, 16))
    assert set(runs) == {16}
    runs.clear()
    monkeypatch.setattr("goodinit.graph.thinning._PRODUCTS", 2**22)
    thin = goodinit.plan(model, "auto", example=torch.zeros(16, 3, 16, 16))
    assert min(runs) < 16
    for name in ("3.weight", "6.weight", "9.weight", "13.weight"):
        assert thin[name].std == pytest.approx(whole[name].std, rel=0.25)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.ConvTranspose2d(32, 64, 4, 1, 0), nn.ConvTranspose2d(64, 32, 4, 2, 1)],
        lambda: [nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 2, 1)],
        lambda: [nn.Conv2d(32, 64, 3, padding=2, dilation=2), nn.Conv2d(64, 64, 5, padding=2)],
        lambda: [
            nn.ConvTranspose2d(32, 64, 3, 2, 1, output_padding=1),
            nn.Conv2d(64, 64, (1, 3), padding=(0, 1)),
        ],
    ],
)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_padding_that_a_convolution_reads_is_counted(
    layers: Callable[[], list[nn.Module]], size: int
) -> None:
    found = measured(nn.Sequential(*layers()), torch.randn(64, 32, size, size), 3)
    # Uncounted, the first of these layers puts out 0.06 on one pixel.
    assert all(value == pytest.approx(1, rel=0.35) for value in found.values()), found


def test_the_share_of_taps_inside_is_counted_by_pairs() -> None:
    def share(layer: nn.Module, *size: int) -> float:
        use = next(
            use for use in goodinit.trace(layer, torch.zeros(2, 4, *size)) if isinstance(use, WeightUse)
        )
        return use.inside

    assert share(nn.Conv1d(4, 4, 3, padding=1), 4) == pytest.approx(10 / 12)
    assert share(nn.Conv2d(4, 4, 3, padding=1), 4, 2) == pytest.approx(10 / 12 * 4 / 6)
    assert share(nn.ConvTranspose1d(4, 4, 4), 1) == pytest.approx(1 / 4)
    assert share(nn.Conv1d(4, 4, 3), 9) == 1
    assert share(nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular"), 9) == 1
