"""Every recipe covers every layer of torch.nn, and `torch` tells the truth about what torch does."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from goodinit.errors import UncoveredError
from goodinit.initializers import (
    Blocks,
    Constant,
    KaimingNormal,
    LecunNormal,
    Normal,
    Orthogonal,
    Uniform,
    VarianceScaling,
    XavierUniform,
    ZeroRows,
)
from goodinit.plans import Plan, plan
from goodinit.recipes import RECIPES

# Every layer of torch.nn that owns parameters, in its variants. Sizes are large enough
# for the statistical tests of `verify` to tell a third of the scale apart.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(40, 30),
    "Linear no bias": lambda: nn.Linear(40, 30, bias=False),
    "Bilinear": lambda: nn.Bilinear(8, 9, 10),
    "Conv1d": lambda: nn.Conv1d(8, 12, 5, stride=2),
    "Conv2d": lambda: nn.Conv2d(8, 12, (3, 5), padding=1),
    "Conv2d grouped": lambda: nn.Conv2d(16, 32, 3, groups=4),
    "Conv2d depthwise": lambda: nn.Conv2d(32, 32, 3, groups=32),
    "Conv3d": lambda: nn.Conv3d(4, 8, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(8, 12, 4, stride=2),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(16, 4, 3),
    "ConvTranspose2d grouped": lambda: nn.ConvTranspose2d(16, 8, 4, stride=2, groups=4),
    "ConvTranspose3d": lambda: nn.ConvTranspose3d(4, 8, 3, stride=2),
    "Embedding": lambda: nn.Embedding(50, 20),
    "Embedding padding": lambda: nn.Embedding(50, 20, padding_idx=3),
    "EmbeddingBag": lambda: nn.EmbeddingBag(50, 20, padding_idx=-1),
    "BatchNorm1d": lambda: nn.BatchNorm1d(30),
    "BatchNorm2d": lambda: nn.BatchNorm2d(30),
    "BatchNorm3d": lambda: nn.BatchNorm3d(30),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(30),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(30, affine=True),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(30, affine=True),
    "InstanceNorm3d": lambda: nn.InstanceNorm3d(30, affine=True),
    "LayerNorm": lambda: nn.LayerNorm((4, 30)),
    "GroupNorm": lambda: nn.GroupNorm(3, 30),
    "RMSNorm": lambda: nn.RMSNorm(30),
    "PReLU": lambda: nn.PReLU(30),
    "PReLU own slope": lambda: nn.PReLU(init=0.1),
    "MultiheadAttention": lambda: nn.MultiheadAttention(24, 4),
    "MultiheadAttention biases": lambda: nn.MultiheadAttention(24, 4, add_bias_kv=True, kdim=10, vdim=12),
    "RNN": lambda: nn.RNN(12, 20, 2, nonlinearity="relu"),
    "LSTM": lambda: nn.LSTM(12, 20, 2, bidirectional=True),
    "LSTM projected": lambda: nn.LSTM(12, 20, proj_size=7),
    "GRU": lambda: nn.GRU(12, 20, batch_first=True),
    "RNNCell": lambda: nn.RNNCell(12, 20),
    "LSTMCell": lambda: nn.LSTMCell(12, 20),
    "GRUCell": lambda: nn.GRUCell(12, 20),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(24, 4, 48),
    "TransformerDecoderLayer": lambda: nn.TransformerDecoderLayer(24, 4, 48),
    "TransformerEncoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(24, 4, 48), 1),
    "TransformerDecoder": lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(24, 4, 48), 1),
    "Transformer": lambda: nn.Transformer(24, 4, 1, 1, 48),
    "AdaptiveLogSoftmaxWithLoss": lambda: nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 10]),
}
# Lazy layers have no shape before their first batch (see test_intent); these own nothing themselves.
WITHOUT = {"Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Container"}

each_layer = pytest.mark.parametrize("name", LAYERS)


def build(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on nested tensors in encoders
        return LAYERS[name]()


def test_the_table_has_every_layer_of_torch_nn_that_owns_parameters() -> None:
    covered = {type(build(name)).__name__ for name in LAYERS}
    for name, kind in vars(nn).items():
        if not (inspect.isclass(kind) and issubclass(kind, nn.Module)) or name.startswith("Lazy"):
            continue
        if name in covered | WITHOUT or name in ("RNNBase", "RNNCellBase"):
            continue
        # What is left must own nothing: its source registers no Parameter.
        source = inspect.getsource(kind)
        assert "Parameter(" not in source, f"torch.nn.{name} owns parameters and is not in the table"


@each_layer
@pytest.mark.parametrize("seed", range(3))
def test_the_torch_recipe_is_what_torch_does(name: str, seed: int) -> None:
    module = build(name, seed)
    outcome = plan(module, "torch").verify(module)
    assert outcome.passed, outcome.failures


@pytest.mark.parametrize("name", [name for name in LAYERS if "Norm" not in name and "PReLU" not in name])
def test_a_torch_plan_off_by_a_third_is_found_out(name: str) -> None:
    # The planted fault of the test above: the same weights, scaled, no longer verify.
    module = build(name)
    made = plan(module, "torch")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.4)
    assert not made.verify(module)


@each_layer
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_covers_every_layer_and_its_plan_verifies(name: str, recipe: str) -> None:
    module = build(name)
    made = plan(module, recipe)
    assert [row.name for row in made] == [name for name, _ in module.named_parameters()]
    assert all(row.why and row.why[0] != " " for row in made)
    made.apply_(module, seed=5)
    assert made.verify(module).passed
    assert made.verify(module, seed=5).passed
    assert not made.verify(module, seed=6).passed or all(row.initializer.deterministic for row in made)
    assert Plan.from_json(made.to_json()) == made


def row_of(name: str, recipe: str, parameter: str):
    return plan(build(name), recipe)[parameter]


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        ("Linear", 40, 30),
        ("Bilinear", 72, None),
        ("Conv1d", 40, 30),  # 12·5/2: every second position
        ("Conv2d", 120, 180),
        ("Conv2d grouped", 36, 72),
        ("Conv2d depthwise", 9, 9),
        ("ConvTranspose1d", 16, 48),  # 8·4/2: each output sees half of the kernel
        ("ConvTranspose2d", 144, 36),
        ("ConvTranspose2d grouped", 16, 32),
        ("Embedding", 1, 20),
    ],
)
def test_fans_are_those_of_the_use(layer: str, fan_in: float, fan_out: float | None) -> None:
    row = row_of(layer, "xavier_uniform", "weight")
    assert row.fan_in == fan_in
    assert fan_out is None or row.fan_out == fan_out


def test_packed_projections_are_three_blocks() -> None:
    row = row_of("MultiheadAttention", "xavier_uniform", "in_proj_weight")
    assert (row.fan_in, row.fan_out) == (24, 24)
    bound = (6 / 48) ** 0.5
    assert row.initializer == Uniform(-bound, bound)
    assert row_of("MultiheadAttention", "orthogonal", "in_proj_weight").initializer == Orthogonal(groups=3)


@pytest.mark.parametrize(("layer", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_gates_are_blocks(layer: str, gates: int) -> None:
    row = row_of(layer, "xavier_uniform", "weight_hh_l0")
    assert (row.fan_in, row.fan_out) == (20, 20)
    assert row_of(layer, "orthogonal", "weight_hh_l0").initializer == Orthogonal(groups=gates)


@pytest.mark.parametrize("layer", ["LSTM", "LSTMCell"])
def test_the_two_forget_biases_sum_to_one(layer: str) -> None:
    module = build(layer)
    made = plan(module, "orthogonal")
    made.apply_(module)
    named = dict(module.named_parameters())
    for name in [name for name in named if name.startswith("bias_ih")]:
        total = (named[name] + named[name.replace("ih", "hh")]).detach()
        assert torch.equal(total, torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(20))
        assert "sum to 1" in made[name].why


def test_a_scheme_can_ask_for_another_forget_bias() -> None:
    from goodinit.recipes import Recipe, Scheme, layer_rules

    scheme = Scheme(XavierUniform(), "test", XavierUniform(), "test", forget_bias=2.0)
    row = plan(build("LSTM"), Recipe("tutorial", "forget bias 2", layer_rules(scheme)))["bias_ih_l0"]
    zero, two = Constant(0.0), Constant(2.0)
    assert row.initializer == Blocks(((20, zero), (20, two), (40, zero)))
    assert "sum to 2" in row.why


def test_padding_rows_are_zero_in_every_recipe() -> None:
    for recipe in RECIPES:
        module = build("Embedding padding")
        plan(module, recipe).apply_(module)
        assert (module.weight[3] == 0).all()
        assert (module.weight[[0, 1, 2, 4]] != 0).any(dim=1).all()
    assert row_of("EmbeddingBag", "torch", "weight").initializer == ZeroRows(Normal(), (49,))


def test_rectifier_gain_goes_where_the_rectifier_is() -> None:
    made = plan(build("TransformerEncoderLayer"), "kaiming_normal")
    assert made["linear1.weight"].asked == KaimingNormal()
    assert made["self_attn.in_proj_weight"].asked == LecunNormal()
    assert made["self_attn.in_proj_weight"].std == pytest.approx(24**-0.5)
    assert made["self_attn.out_proj.weight"].asked == LecunNormal()  # a residual sum follows
    assert "ReLU" not in made["self_attn.out_proj.weight"].why


def test_grouped_orthogonal_kernels_are_orthogonal_group_by_group() -> None:
    assert row_of("Conv2d grouped", "orthogonal", "weight").initializer == Orthogonal(groups=4)


def test_transposed_linears_have_their_fans_the_right_way_round() -> None:
    class Conv1D(nn.Module):  # the layer of GPT-2, as its library defines it
        def __init__(self, nf: int, nx: int) -> None:
            super().__init__()
            self.nf = nf
            self.weight = nn.Parameter(torch.randn(nx, nf))
            self.bias = nn.Parameter(torch.zeros(nf))

    row = plan(Conv1D(30, 10), "lecun_normal")["weight"]
    assert (row.fan_in, row.fan_out) == (10, 30)
    assert row.std == pytest.approx(10**-0.5)


def test_every_recipe_is_registered_under_its_own_name() -> None:
    assert all(name == entry.name and entry.summary for name, entry in RECIPES.items())
    assert isinstance(row_of("Linear", "kaiming_uniform", "weight").asked, VarianceScaling)


# One recipe that knows types alone, one that asks the graph for the rest, one that asks it first.
@each_layer
@pytest.mark.parametrize("recipe", ["torch", "kaiming_normal", "auto"])
def test_a_parameter_that_a_subclass_adds_is_not_taken_for_the_layers_own(name: str, recipe: str) -> None:
    module = build(name)
    module.extra = nn.Parameter(torch.randn(3, 3))
    module.bias_extra = nn.Parameter(torch.randn(3, 3))
    with pytest.raises(UncoveredError) as caught:
        plan(module, recipe)
    listed = [line.split()[0] for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert listed == ["extra", "bias_extra"]


@pytest.mark.parametrize(
    "layer", [nn.Linear(5, 4), nn.Conv2d(8, 4, 3, groups=2), nn.ConvTranspose1d(4, 8, 3)]
)
def test_the_torch_bias_of_a_parametrized_weight_has_its_bound(layer: nn.Module) -> None:
    bound = plan(layer, "torch")["bias"].initializer.bounds[1]
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    parametrized = nn.utils.parametrizations.spectral_norm(layer)
    after = {name: value.clone() for name, value in parametrized.state_dict().items()}
    assert plan(parametrized, "torch")["bias"].initializer.bounds[1] == bound
    assert len(before) == 2
    # Reading the weight would run a step of the power iteration.
    assert all(torch.equal(after[name], value) for name, value in parametrized.state_dict().items())
