"""`auto`: signals and gradients held in plain nets, roles seen in the others, costs said beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, leaky_relu, relu, silu

import goodinit
from goodinit.errors import UnknownNameError
from goodinit.initializers import (
    Constant,
    DeltaOrthogonal,
    LooksLinear,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    ZeroRows,
)
from goodinit.plans import Plan, initialize, plan
from goodinit.recipes import auto


class Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def plain(activation: Callable[[], nn.Module], width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def factors(model: nn.Sequential, made: Plan, seeds: int = 4) -> tuple[float, float]:
    """Largest over smallest mean second moment across depth, of pre-activations and of gradients."""
    linears = [layer for layer in model if isinstance(layer, nn.Linear)][:-1]
    forward, backward = torch.zeros(len(linears)).double(), torch.zeros(len(linears)).double()
    for seed in range(seeds):
        made.apply_(model, seed=seed)
        outputs: list[torch.Tensor] = []

        def keep(module: nn.Module, args: object, output: torch.Tensor, kept=outputs) -> None:
            output.retain_grad()
            kept.append(output)

        hooks = [layer.register_forward_hook(keep) for layer in linears]
        generator = torch.Generator().manual_seed(seed)
        result = model(torch.randn(64, linears[0].in_features, generator=generator))
        (result * torch.randn(result.shape, generator=generator)).sum().backward()
        for hook in hooks:
            hook.remove()
        forward += torch.stack([out.detach().double().square().mean() for out in outputs])
        backward += torch.stack([out.grad.double().square().mean() for out in outputs])
    return float(forward.max() / forward.min()), float(backward.max() / backward.min())


HELD = [
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.SELU,
    nn.Hardswish,
    nn.Tanhshrink,
    lambda: Function(torch.sin),
    lambda: Function(lambda x: x * torch.sigmoid(1.702 * x)),
    lambda: Function(lambda x: torch.where(x > 0, x, 0.3 * x).clamp(max=6.0)),
]


@pytest.mark.parametrize("activation", HELD)
@pytest.mark.parametrize("depth", [20, 50])
def test_a_plain_network_keeps_its_signal_and_its_gradient(activation, depth: int) -> None:
    model = plain(activation, 128, depth)
    made = plan(model, "auto", example=torch.zeros(2, 128))
    forward, gradient = factors(model, made)
    assert forward < 3
    assert gradient < 10
    assert not any("no scale holds" in row.why for row in made)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid, nn.GELU])
def test_the_same_measurement_finds_the_default_out(activation) -> None:
    model = plain(activation, 128, 50)
    _, gradient = factors(model, plan(model, "torch"))
    assert gradient > 1e6


@pytest.mark.parametrize("function", [torch.relu, leaky_relu])
def test_a_deep_rectifier_network_is_linear_at_the_start(function) -> None:
    model = plain(lambda: Function(function), 32, 60).double()
    made = initialize(model, "auto", example=torch.zeros(2, 32, dtype=torch.float64))
    kinds = [type(row.initializer) for row in made if len(row.shape) == 2]
    assert set(kinds) == {LooksLinear}
    a, b = torch.randn(2, 4, 32, dtype=torch.float64)
    torch.testing.assert_close(model(a) + model(b), model(a + b))


def test_a_thousand_linear_convolutions_keep_the_norm() -> None:
    channels = 8
    model = nn.Sequential(*(nn.Conv1d(channels, channels, 3, padding=1, bias=False) for _ in range(1000)))
    made = initialize(model, "auto", example=torch.zeros(1, channels, 6))
    assert all(isinstance(row.initializer, DeltaOrthogonal) for row in made)
    x = torch.randn(4, channels, 16)
    with torch.no_grad():
        assert float(model(x).norm() / x.norm()) == pytest.approx(1.0, abs=1e-3)


def test_a_thousand_tanh_convolutions_follow_the_predicted_second_moment() -> None:
    channels, depth = 64, 1000
    layers = [nn.Conv1d(channels, channels, 3, padding=1, bias=False) for _ in range(depth)]
    model = nn.Sequential(*(module for layer in layers for module in (layer, nn.Tanh())))
    made = initialize(model, "auto", example=torch.zeros(1, channels, 6))
    point = goodinit.theory.operating_point("tanh", depth)
    assert made["2.weight"].initializer.gain == pytest.approx(point.sigma_w)

    def followed() -> bool:
        """Whether the pre-activations of all layers but the last (it feeds the output) stay within 10 %."""
        x = torch.randn(4, channels, 16, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            for layer in layers[:-1]:
                x = layer(x)
                if abs(float(x.square().mean()) / point.q - 1) > 0.1:
                    return False
                x = torch.tanh(x)
        return True

    assert followed()
    with torch.no_grad():
        for layer in layers[1:]:
            layer.weight.mul_(1.01)  # the planted fault
    assert not followed()


def test_first_and_last_layers_enter_and_leave_the_operating_point() -> None:
    model = plain(nn.Tanh, 64, 50)
    made = plan(model, auto(draws="normal"), example=torch.zeros(2, 64))
    stds = [row.std * 8 for row in made if len(row.shape) == 2]  # in units of 1/√fan_in
    assert stds[0] < 0.6  # tanh is run at a small second moment
    assert all(1.0 < std < 1.3 for std in stds[1:-1])
    assert stds[-1] > 1.5  # and the output is brought back to one


class TestRoles:
    def test_residual_branches_share_the_stream(self) -> None:
        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 64), nn.Linear(64, 16)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + self.down(gelu(self.up(self.norm(x))))

        made = plan(nn.Sequential(*(Block() for _ in range(8))), "auto", example=torch.zeros(2, 16))
        passed = goodinit.theory.moments("gelu").second_moment
        for index in range(8):
            assert made[f"{index}.up.weight"].std == pytest.approx(1 / 4)
            assert made[f"{index}.down.weight"].std == pytest.approx(math.sqrt(1 / 8 / passed / 64))
            assert "one of 8 branches" in made[f"{index}.down.weight"].why

    def test_gated_products_are_measured(self) -> None:
        class SwiGLU(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.norm, self.gate, self.up, self.down = (
                    nn.RMSNorm(16),
                    nn.Linear(16, 64, bias=False),
                    nn.Linear(16, 64, bias=False),
                    nn.Linear(64, 16, bias=False),
                )

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                x = self.norm(x)
                return self.down(silu(self.gate(x)) * self.up(x))

        model = SwiGLU()
        made = plan(model, "auto", example=torch.zeros(2, 16))
        passed = goodinit.theory.moments("silu").second_moment
        assert made["down.weight"].std == pytest.approx(1 / math.sqrt(passed * 64))
        outputs = []
        for seed in range(20):
            made.apply_(model, seed=seed)
            outputs.append(model(torch.randn(64, 16)).detach().square().mean())
        assert float(torch.stack(outputs).mean()) == pytest.approx(1.0, rel=0.25)

    def test_a_matrix_multiplied_from_either_side_gets_its_fans(self) -> None:
        class Raw(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a = nn.Parameter(torch.randn(16, 64))
                self.b = nn.Parameter(torch.randn(8, 64))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.einsum("oi,bi->bo", self.b, torch.tanh(x @ self.a))

        for recipe in ("auto", "kaiming_normal", "orthogonal"):
            made = plan(Raw(), recipe, example=torch.zeros(2, 16))
            assert (made["a"].fan_in, made["a"].fan_out) == (16, 64)
            assert (made["b"].fan_in, made["b"].fan_out) == (64, 8)

    def test_recurrence_is_orthogonal_with_an_open_forget_gate(self) -> None:
        made = plan(nn.LSTM(8, 16), "auto", example=torch.zeros(3, 2, 8))
        assert made["weight_hh_l0"].initializer == Orthogonal(groups=4)
        assert "sum to 1" in made["bias_ih_l0"].why

    @pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
    def test_a_horizon_gives_chrono_biases(self, layer, gates: int) -> None:
        model = layer(8, 64)
        made = plan(model, auto(horizon=100), example=torch.zeros(3, 2, 8))
        made.apply_(model)
        remember = model.bias_ih_l0.detach().reshape(gates, 64)[1]
        assert float(remember.min()) >= 0
        assert float(remember.max()) <= math.log(99)
        assert float(remember.exp().mean()) == pytest.approx(50, rel=0.25)  # u is uniform on [1, 99]
        assert (model.bias_hh_l0 == 0).all()
        assert made.verify(model).passed
        with torch.no_grad():
            model.bias_ih_l0[0] += 1
        assert not made.verify(model)

    def test_tied_embeddings_and_padding(self) -> None:
        class Tied(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embed, self.norm = nn.Embedding(30, 16, padding_idx=0), nn.LayerNorm(16)
                self.head = nn.Linear(16, 30, bias=False)
                self.head.weight = self.embed.weight

            def forward(self, ids: torch.Tensor) -> torch.Tensor:
                return self.head(self.norm(self.embed(ids)))

        made = plan(Tied(), "auto", example=torch.zeros(2, 3, dtype=torch.long))
        assert made["embed.weight"].initializer == ZeroRows(Normal(0.0, 0.25), (0,))
        assert "output layer" in made["embed.weight"].why


class TestBlindSpotsOfThePeer:
    """The cases of the measured field in which the closest peer fails or passes silently."""

    def test_rezero_layerscale_and_zero_gamma_stay(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)
                self.alpha, self.scale = nn.Parameter(torch.zeros(())), nn.Parameter(torch.full((8,), 1e-4))
                self.other = nn.Linear(8, 8)
                nn.init.zeros_(self.norm.weight)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                x = x + self.alpha * self.norm(self.body(x))
                return x + self.scale * self.other(x)

        model = Net()
        made = initialize(model, "auto", example=torch.zeros(2, 8))
        assert made["alpha"].initializer == Constant(0.0)
        assert made["scale"].initializer == Constant(1e-4)
        assert made["norm.weight"].initializer == Constant(0.0)
        assert all(torch.isfinite(value).all() for value in model.parameters())
        assert made["body.weight"].std < 1
        assert made["other.weight"].std < 1

    def test_the_stride_of_a_transposed_convolution_counts(self) -> None:
        # So large an image has hardly any edges.
        image = torch.zeros(1, 16, 512, 512)
        one = plan(nn.ConvTranspose2d(16, 4, 4), "auto", example=image)["weight"]
        two = plan(nn.ConvTranspose2d(16, 4, 4, stride=2), "auto", example=image)["weight"]
        assert one.fan_in == 256
        assert two.fan_in == 64
        assert two.std == pytest.approx(2 * one.std, rel=0.01)

    @pytest.mark.filterwarnings("ignore")
    def test_an_encoder_as_root_is_filled_layer_by_layer(self) -> None:
        model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 3)
        initialize(model, "auto", example=torch.zeros(2, 5, 16))
        weights = [layer.self_attn.in_proj_weight for layer in model.layers]
        assert not torch.equal(weights[0], weights[1])
        assert float(weights[0].std()) == pytest.approx(0.25, rel=0.1)

    def test_a_model_on_meta_is_planned_and_made(self) -> None:
        with torch.device("meta"):
            model = plain(nn.ReLU, 16, 3)
        initialize(model, "auto", example=torch.zeros(2, 16))
        assert not any(value.is_meta for value in model.parameters())

    def test_control_flow_that_depends_on_values_is_followed(self) -> None:
        class Branching(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                x = self.a(x)
                return self.b(relu(x)) if float(x.detach().square().sum()) >= 0 else x

        made = plan(Branching(), "auto", example=torch.randn(2, 8))
        assert made["b.weight"].std == pytest.approx(0.5)  # √2/√8: it reads relu

    def test_inserting_a_layer_leaves_the_values_of_the_others(self) -> None:
        def build(extra: bool) -> nn.Module:
            layers = {"a": nn.Linear(8, 8), **({"x": nn.Linear(8, 8)} if extra else {}), "z": nn.Linear(8, 8)}
            return Chain(layers)

        class Chain(nn.Module):
            def __init__(self, layers: dict[str, nn.Module]) -> None:
                super().__init__()
                self.layers = nn.ModuleDict(layers)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                for layer in self.layers.values():
                    x = torch.relu(layer(x))
                return x

        small, large = build(False), build(True)
        initialize(small, "auto", example=torch.zeros(2, 8))
        initialize(large, "auto", example=torch.zeros(2, 8))
        assert torch.equal(small.layers["a"].weight, large.layers["a"].weight)
        assert torch.equal(small.layers["z"].weight, large.layers["z"].weight)


class TestSettings:
    @pytest.mark.parametrize(
        ("draws", "kind"),
        [
            ("normal", Normal),
            ("uniform", Uniform),
            ("truncated_normal", TruncatedNormal),
            ("orthogonal", Orthogonal),
        ],
    )
    def test_every_kind_of_draws_has_the_same_std(self, draws: str, kind: type) -> None:
        row = plan(plain(nn.ReLU, 16, 3), auto(draws=draws), example=torch.zeros(2, 16))["2.weight"]
        assert isinstance(row.initializer, kind)
        assert row.std == pytest.approx(math.sqrt(2) / 4)

    def test_backward_takes_the_fan_out_and_the_slope(self) -> None:
        model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 4))
        row = plan(model, auto("backward"), example=torch.zeros(2, 8))["2.weight"]
        slope = goodinit.theory.moments("tanh").derivative_second_moment
        assert row.std == pytest.approx(1 / math.sqrt(64 * slope))

    def test_without_an_example_one_is_made_and_without_any_types_decide(self) -> None:
        class Pair(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = plain(nn.Tanh, 16, 3)

            def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
                out: torch.Tensor = self.net(one + other)
                return out

        made, given = plan(plain(nn.Tanh, 16, 3)), plan(plain(nn.Tanh, 16, 3), example=torch.zeros(2, 16))
        assert made.rows == given.rows
        row = plan(Pair())["net.2.weight"]
        assert row.std == pytest.approx(math.sqrt(2) / 4)  # as for a rectifier
        assert row.std != given["2.weight"].std
        assert "the model was not traced" in row.why

    def test_unknown_settings_offer_the_nearest(self) -> None:
        with pytest.raises(UnknownNameError, match=r"objective must be .* \(did you mean 'critical'\?\)"):
            auto("critcal")
        with pytest.raises(UnknownNameError, match="draws must be one of normal, uniform"):
            auto(draws="gaussian")
