"""What theory expects lies where measurements fall; wrong weights do not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from goodinit.errors import ExampleError
from goodinit.records import LayerSignal, Prediction
from goodinit.signals.expectations import gaussian_means
from goodinit.signals.prediction import predictions, with_predictions
from goodinit.signals.probing.probe import probe
from goodinit.theory import moments

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "softplus": nn.Softplus,
    "mish": nn.Mish,
    "hardtanh": nn.Hardtanh,
    "softsign": nn.Softsign,
}
SEEDS = 6


def mlp(activation: Callable[[], nn.Module], width: int = 128, depth: int = 6) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(32, width)]
    for _ in range(depth - 1):
        layers += [activation(), nn.Linear(width, width)]
    for layer in layers[::2]:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=1.4 / math.sqrt(layer.in_features))
        nn.init.normal_(layer.bias, std=0.1)
    return nn.Sequential(*layers)


class Block(nn.Module):
    """x + W GELU(V norm(x)): the second half of a pre-norm transformer block."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm, self.up, self.down = norm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(functional.gelu(self.up(self.norm(x))))


class HandNorm(nn.Module):
    """RMS norm in plain operations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Gated(nn.Module):
    """SwiGLU on a residual stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = HandNorm(width)
        self.gate, self.up = nn.Linear(width, 2 * width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


class ResNetBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.two = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.norms[1](self.two(functional.relu(self.norms[0](self.one(x))))))


def plain_conv() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(32, 64, 3, stride=2, groups=2), nn.Tanh(), nn.ConvTranspose2d(64, 16, 3, stride=2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def resnet() -> nn.Module:
    stem = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(
        *stem, *(ResNetBlock(32) for _ in range(3)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)
    )


def transformer(dropout: float = 0.0, first: bool = True) -> nn.Module:
    made = [
        nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, norm_first=first, dropout=dropout)
        for _ in range(3)
    ]
    return nn.Sequential(*made, nn.Linear(64, 10))


def pooled_conv() -> nn.Module:
    pools = [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(3)]
    layers = [
        (nn.Conv2d(3 if at == 0 else 32, 32, 3, padding=1), nn.GELU(), pool) for at, pool in enumerate(pools)
    ]
    return nn.Sequential(*(layer for group in layers for layer in group), nn.Flatten(), nn.Linear(288, 4))


GENERATOR = torch.Generator().manual_seed(0)
FLAT = torch.randn(64, 32, generator=GENERATOR)
IMAGES = torch.randn(16, 3, 12, 12, generator=GENERATOR)
TOKENS = torch.randn(8, 16, 64, generator=GENERATOR)
FAMILIES: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    **{name: (lambda made=made: mlp(made), FLAT) for name, made in ACTIVATIONS.items()},
    "convolutions": (plain_conv, IMAGES),
    "pools": (pooled_conv, IMAGES),
    "resnet": (resnet, IMAGES),
    "pre-norm": (
        lambda: nn.Sequential(
            nn.Linear(32, 64), *(Block(64, nn.LayerNorm) for _ in range(6)), nn.LayerNorm(64)
        ),
        FLAT,
    ),
    "gated": (
        lambda: nn.Sequential(
            nn.Linear(32, 64), *(Gated(64) for _ in range(4)), HandNorm(64), nn.Linear(64, 5)
        ),
        FLAT,
    ),
    "group norm": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 32, 3), nn.GroupNorm(4, 32), nn.SiLU(), nn.Conv2d(32, 32, 3), nn.InstanceNorm2d(32)
        ),
        IMAGES,
    ),
    "transformer": (transformer, TOKENS),
    "post-norm with dropout": (lambda: transformer(0.1, False), TOKENS),
}


def measured(build: Callable[[], nn.Module], x: torch.Tensor, seed: int) -> tuple[LayerSignal, ...]:
    torch.manual_seed(seed)
    model = build()
    return with_predictions(probe(model, x, seed=seed).layers, predictions(model, x, seed=seed))


def relative(layers: tuple[LayerSignal, ...]) -> list[tuple[float, Prediction]]:
    """Measured gradients relative to that of the last layer with a prediction, and their bands."""
    found = [layer for layer in layers if layer.predicted_gradient and layer.gradient]
    last = found[-1].gradient
    assert last is not None
    return [
        (layer.gradient.second_moment / last.second_moment, layer.predicted_gradient)
        for layer in found
        if layer.gradient is not None and layer.predicted_gradient is not None
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_measurements_lie_in_the_band(family: str) -> None:
    """Bands are of 3 sigma; of a family's layers and seeds, which are not independent, 97 % must lie inside.

    And where theory knows the value (no gap), the mean over the seeds is within its standard error:
    6 sigma of the band's own, over √seeds.
    """
    build, x = FAMILIES[family]
    inside: list[bool] = []
    ratios: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for seed in range(SEEDS):
        layers = measured(build, x, seed)
        for layer in layers:
            if layer.predicted is None:
                continue
            band, value = layer.predicted, layer.output.second_moment
            inside.append(band.low <= value <= band.high)
            width = math.log(band.high / band.value) / 3
            ratios.setdefault((layer.name, layer.call), []).append((value / band.value, width))
        inside.extend(band.low <= value <= band.high for value, band in relative(layers))
    assert len(inside) > 5 * SEEDS
    assert sum(inside) >= 0.97 * len(inside)
    for key, pairs in ratios.items():
        mean = sum(ratio for ratio, _ in pairs) / len(pairs)
        assert abs(math.log(mean)) < 6 * pairs[0][1] / math.sqrt(SEEDS) + 0.05, key


@pytest.mark.parametrize(
    "family", ["relu", "tanh", "gelu", "convolutions", "pre-norm", "gated", "transformer"]
)
def test_weights_that_were_changed_after_the_prediction_fall_outside(family: str) -> None:
    """The planted fault: all weights × 1.5, a factor of 2.25 in one layer's second moment."""
    build, x = FAMILIES[family]
    torch.manual_seed(0)
    model = build()
    expected = predictions(model, x)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(1.5)
    layers = with_predictions(probe(model, x).layers, expected)
    outside = [
        layer.name
        for layer in layers
        if layer.predicted and not layer.predicted.low <= layer.output.second_moment <= layer.predicted.high
    ]
    assert len(outside) >= 2


def test_layers_that_share_their_weights_are_no_independent_draws() -> None:
    """One matrix many times, as in the copied layers of nn.TransformerEncoder, is outside of the band."""
    torch.manual_seed(0)
    one = nn.Linear(64, 64, bias=False)
    nn.init.normal_(one.weight, std=0.125)
    # The same symmetric matrix many times: x + W x + W W x ... is far from a random walk.
    one.weight.data = (one.weight.data + one.weight.data.T) / 2
    model = nn.Sequential(*[one] * 6)
    found = with_predictions(probe(model, FLAT.repeat(1, 2)).layers, predictions(model, FLAT.repeat(1, 2)))
    last = found[-1]
    assert last.call == 5
    assert last.predicted is not None
    assert last.output.second_moment > last.predicted.high


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("q", [0.1, 1.0, 10.0])
def test_the_fast_means_agree_with_the_theory_room(name: str, q: float) -> None:
    function = ACTIVATIONS[name]()
    found, exact = gaussian_means(function, 0.0, [q]), moments(function, q)
    assert float(found.square[0]) == pytest.approx(exact.second_moment, rel=1e-3)
    assert float(found.mean[0]) == pytest.approx(exact.mean, rel=1e-3, abs=1e-4 * exact.second_moment**0.5)
    assert float(found.slope[0]) == pytest.approx(exact.derivative_second_moment, rel=2e-3)
    assert found.elasticity == pytest.approx(exact.slope * q / exact.second_moment, rel=5e-3)
    assert found.kurtosis == pytest.approx(exact.kurtosis, rel=2e-3)
    assert found.slope_kurtosis == pytest.approx(exact.derivative_kurtosis, rel=3e-3)


def test_a_mean_is_taken_into_account() -> None:
    """E[relu(x)²] for x ~ N(1, 1) is Φ(1)·2 + pdf(1)."""
    found = gaussian_means(torch.relu, 1.0, [1.0])
    normal = torch.distributions.Normal(0.0, 1.0)
    one = torch.tensor(1.0)
    wanted = 2 * float(normal.cdf(one)) + float(normal.log_prob(one).exp())
    assert float(found.square[0]) == pytest.approx(wanted, rel=1e-3)


class HandSiLU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)


class HandGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
        return 0.5 * x * (1.0 + torch.tanh(inner))


@pytest.mark.parametrize(
    ("hand", "torchs"), [(HandSiLU, nn.SiLU), (HandGELU, lambda: nn.GELU(approximate="tanh"))]
)
def test_functions_written_by_hand_are_one_function(
    hand: Callable[[], nn.Module], torchs: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    by_hand, ready = mlp(hand), mlp(torchs)
    by_hand.load_state_dict(ready.state_dict())
    one, other = predictions(by_hand, FLAT), predictions(ready, FLAT)
    assert one["10", 0].output.value == pytest.approx(other["10", 0].output.value, rel=1e-9)


def test_packed_weights_of_different_scales_keep_their_blocks() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both, self.out = nn.Linear(32, 256), nn.Linear(128, 8)
            self.both.weight.data[:128] *= 10

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            large, small = self.both(x).chunk(2, dim=-1)
            return self.out(small) + 0 * large.sum()

    torch.manual_seed(0)
    model = Packed()
    found = with_predictions(probe(model, FLAT).layers, predictions(model, FLAT))
    last = next(layer for layer in found if layer.name == "out")
    assert last.predicted is not None
    assert last.predicted.low <= last.output.second_moment <= last.predicted.high
    assert last.predicted.value == pytest.approx(last.output.second_moment, rel=0.6)


def test_what_theory_says_nothing_of_is_absent_until_the_next_norm() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(8, 64, batch_first=True)
            self.before, self.norm, self.after = nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.after(self.norm(self.before(self.rnn(x)[0].sort(dim=-1).values)))

    torch.manual_seed(0)
    found = predictions(Odd(), torch.randn(4, 6, 8))
    assert ("before", 0) not in found
    assert found["norm", 0].output.value == pytest.approx(1.0)
    assert ("after", 0) in found


def test_every_layer_of_a_network_with_pools_is_predicted() -> None:
    assert len(predictions(pooled_conv(), IMAGES)) == 8


def test_a_signal_written_into_a_buffer_is_unknown() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = torch.zeros(len(x), 8)
            out[:, :4] = self.one(x)[:, :4]
            return self.two(out)

    found = predictions(Writes(), torch.randn(16, 8))
    assert ("one", 0) in found
    assert ("two", 0) not in found


def test_scales_beyond_float32_do_not_overflow() -> None:
    model = nn.Sequential(*[nn.Linear(16, 16) for _ in range(3)])
    for layer in model:
        layer.weight.data.mul_(1e12)
    value = predictions(model, torch.randn(4, 16))["2", 0].output.value
    assert 1e60 < value < 1e80


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    one = predictions(model)
    assert one == predictions(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    with pytest.raises(ExampleError, match="rejected it"):
        predictions(model, torch.randn(4, 5))


def test_transformers_of_the_library_are_followed_throughout() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    small = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    config = transformers.LlamaConfig(hidden_size=64, intermediate_size=128, vocab_size=100, **small)
    model = transformers.LlamaForCausalLM(config).eval()
    ids = torch.randint(0, 100, (4, 16))
    layers = with_predictions(probe(model, ids).layers, predictions(model, ids))
    known = [layer for layer in layers if layer.predicted is not None and layer.call == 0]
    assert {layer.name for layer in known} >= {
        "model.layers.0.self_attn.o_proj",
        "model.layers.1.mlp.down_proj",
        "model.norm",
        "lm_head",
    }
    assert all(
        layer.predicted.low <= layer.output.second_moment <= layer.predicted.high
        for layer in known
        if layer.predicted is not None
    )
