"""What an author set in plain chains, and what plans announce beforehand, measured."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

import goodinit
from goodinit.initializers import LooksLinear


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def chain(activation, width, depth, bias=0.0):
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(width, width), activation())]
    model = nn.Sequential(*hidden, nn.Linear(width, 10))
    for at, layer in enumerate(layer for layer in model if isinstance(layer, nn.Linear)):
        nn.init.constant_(layer.bias, bias(at) if callable(bias) else bias)
    return model


def measured(model, plan, seeds=2):
    """Largest over smallest second moment along the chain: of signals without their biases, of gradients."""
    forward, backward = [], []
    for seed in range(seeds):
        plan.apply_(model, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(32, model[0].in_features, generator=generator)
        seen = []
        for layer in model:
            x = layer(x)
            if isinstance(layer, nn.Linear):
                x.retain_grad()
                seen.append((x, layer.bias))
        (x * torch.randn(x.shape, generator=generator)).sum().backward()
        forward.append([float((h - b).detach().square().mean()) for h, b in seen[:-1]])
        backward.append([float(h.grad.square().mean()) for h, _ in seen[:-1]])
        model.zero_grad()
    ratios = [torch.tensor(each, dtype=torch.float64).mean(0) for each in (forward, backward)]
    return [float(each.max() / each.min()) for each in ratios]


ACTIVATIONS = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "square": lambda: Function(torch.square),
    "tanh": nn.Tanh,
}


CASES = [
    (name, *size) for name in ("relu", "gelu") for size in [(64, 24, 0.1), (48, 52, -0.3), (32, 20, 1.0)]
]
CASES += [("elu", 32, 20, 1.0), ("square", 48, 24, 0.1), ("square", 32, 52, -0.3), ("tanh", 48, 24, 0.1)]


@pytest.mark.parametrize(("activation", "width", "depth", "bias"), CASES)
def test_biases_that_an_author_set_are_part_of_the_activation(activation, width, depth, bias):
    model = chain(ACTIVATIONS[activation], width, depth, bias)
    plan = goodinit.plan(model, example=torch.zeros(2, width))
    assert plan["2.bias"].initializer.value == bias
    assert isinstance(plan["2.weight"].initializer, LooksLinear)
    forward, backward = measured(model, plan)
    assert forward < 3
    assert backward < 10


def test_without_knowing_the_biases_the_same_chain_is_lost():
    # The planted fault: mirrored weights for biases of 0 under biases of −0.3.
    plain = goodinit.plan(chain(nn.ReLU, 48, 52), example=torch.zeros(2, 48))
    forward, _ = measured(chain(nn.ReLU, 48, 52), plain.override({"*.bias": -0.3}))
    assert not forward < 3


def test_biases_may_differ_from_layer_to_layer():
    model = chain(nn.GELU, 48, 52, lambda at: 0.02 * (at % 5))
    plan = goodinit.plan(model, example=torch.zeros(2, 48))
    forward, backward = measured(model, plan)
    assert forward < 3
    assert backward < 10
    assert plan["6.bias"].initializer.value == pytest.approx(0.06)


def test_an_override_of_the_biases_counts_too():
    model = chain(nn.Tanh, 48, 52)
    plan = goodinit.plan(model, example=torch.zeros(2, 48), overrides={"*.bias": 0.2})
    forward, backward = measured(model, plan)
    assert forward < 3
    assert backward < 10


@pytest.mark.parametrize("how", ["weight", "biases"])
def test_what_stays_in_a_chain_is_no_mirror(how):
    model = chain(nn.ReLU, 32, 52)
    for at, layer in enumerate(layer for layer in model if isinstance(layer, nn.Linear)):
        if how == "biases":
            nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(at))
            layer.bias.requires_grad_(False)
        elif at == 20:
            layer.weight.requires_grad_(False)
    plan = goodinit.plan(model, example=torch.zeros(2, 32))
    assert not any(isinstance(row.initializer, LooksLinear) for row in plan)


@pytest.mark.parametrize("value", [0.5, 0.1, 1e-4])
def test_a_scale_that_an_author_set_after_a_branchs_norm_is_a_factor(value):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(48, 48), nn.LayerNorm(48)
            self.scale = nn.Parameter(torch.full((48,), value))

        def forward(self, x):
            return x + self.scale * self.norm(self.layer(x))

    model = nn.Sequential(*(Block() for _ in range(9)))
    plan = goodinit.plan(model, example=torch.zeros(4, 48))
    assert plan["0.scale"].mean == value
    # Branches that the author made smaller than their share stay so; larger ones are brought to it.
    unit = 9 * value**2 <= 1
    plan.apply_(model, seed=0)
    with torch.no_grad():
        x = torch.randn(256, 48, generator=torch.Generator().manual_seed(0))
        added = float((model(x) - x).square().mean())
    assert added == pytest.approx(9 * value**2 if unit else 1.0, rel=0.3)


# --- announcements


SOFTPLUS = {
    "log1p": lambda x: torch.log1p(x.exp()),
    "log": lambda x: torch.log(1 + torch.exp(x)),
    "−log1p(e⁻ˣ)": lambda x: -torch.log1p(torch.exp(-x)),
}


@pytest.mark.parametrize(
    ("function", "width", "depth"), [("log1p", 65, 50), ("log", 33, 12), ("−log1p(e⁻ˣ)", 65, 20)]
)
def test_a_function_that_overflows_in_its_own_code_is_held_and_its_cost_announced(function, width, depth):
    model = chain(lambda: Function(SOFTPLUS[function]), width, depth)
    plan = goodinit.plan(model, example=torch.zeros(2, width))
    said = plan["2.weight"].announced
    assert said.quantity == "gradient"
    assert said.depth == depth
    found = []
    for seed in range(12):
        plan.apply_(model, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        first = model[0](torch.randn(8, width, generator=generator))
        last = model[1:-2](first)
        g = torch.randn(last.shape, generator=generator)
        (back,) = torch.autograd.grad((last * g).sum(), first)
        found.append(back.double().square().mean(1) / g.double().square().mean(1))
    middle = float(torch.cat(found).median())  # NaN where one overflows
    assert abs(math.log(middle) / math.log(said.predicted) - 1) < 0.2


def test_the_module_of_torch_needs_no_such_care():
    held = goodinit.plan(chain(nn.Softplus, 65, 20), example=torch.zeros(2, 65))
    assert held["2.weight"].announced is None


@pytest.mark.parametrize("branches", [3, 10])
def test_a_stream_without_gains_grows_as_announced(branches):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(32, 32), nn.LayerNorm(32, elementwise_affine=False)

        def forward(self, x):
            return x + self.norm(self.layer(x))

    model = nn.Sequential(nn.Linear(16, 32), *(Block() for _ in range(branches)))
    plan = goodinit.plan(model, example=torch.zeros(4, 16))
    said = plan["1.layer.weight"].announced
    assert (said.quantity, said.depth) == ("stream", branches)
    found = []
    for seed in range(4):
        plan.apply_(model, seed=seed)
        with torch.no_grad():
            found.append(float(model(torch.randn(256, 16)).square().mean()))
    assert sum(found) / 4 == pytest.approx(said.predicted, rel=0.2)


def test_announcements_are_data_that_travel_with_the_plan(tmp_path):
    model = chain(lambda: Function(torch.square), 33, 30)
    plan = goodinit.plan(model, example=torch.zeros(2, 33))
    said = plan["2.weight"].announced
    assert said.quantity == "layers"
    assert 1 < said.predicted < 30
    assert f"{said.predicted:.1f} layers" in said.what
    assert said.what in plan["2.weight"].why
    read = goodinit.Plan.load(plan.save(tmp_path / "plan.json"))
    assert read == plan
    assert read.record().rows[2].announced == said
    assert "Will not hold" in str(plan)
    assert str(plan).index("Will not hold") < str(plan).index("0.weight 33×33")
    assert "Will not hold" not in str(goodinit.plan(chain(nn.Tanh, 32, 4), example=torch.zeros(2, 32)))
    moved = plan.override({"2.weight": 0.5})
    assert moved["2.weight"].announced is None
    ((name, mine, theirs),) = plan.diff(moved)
    assert (name, mine.announced, theirs.announced) == ("2.weight", said, None)


def test_a_file_from_before_announcements_still_loads():
    plan = goodinit.plan(chain(nn.Tanh, 8, 2), example=torch.zeros(2, 8))
    value = json.loads(plan.to_json())
    for row in value["rows"]:
        del row["announced"]
    assert goodinit.Plan.from_json(json.dumps(value)) == plan


@pytest.mark.parametrize(
    "wrong", [3, {"what": "x"}, {"what": 1, "quantity": "q", "predicted": 1, "depth": 1}]
)
def test_a_malformed_announcement_is_refused(wrong):
    plan = goodinit.plan(chain(nn.Tanh, 8, 2), example=torch.zeros(2, 8))
    value = json.loads(plan.to_json())
    value["rows"][0]["announced"] = wrong
    with pytest.raises(goodinit.errors.PlanFileError, match=r"0\.weight"):
        goodinit.Plan.from_json(json.dumps(value))


def test_a_number_without_end_survives_the_file():
    plan = goodinit.plan(chain(lambda: Function(torch.square), 33, 30), example=torch.zeros(2, 33))
    row = plan["2.weight"]
    endless = dataclasses.replace(row, announced=dataclasses.replace(row.announced, predicted=math.inf))
    again = dataclasses.replace(plan, rows=(endless,))
    assert goodinit.Plan.from_json(again.to_json()) == again


# --- temperatures


TEMPERATURES = {
    "exponential, as CLIP's": (2.6592, lambda y, t: y * t.exp()),
    "exponential, clamped": (2.6592, lambda y, t: t.exp().clamp(max=100) * y),
    "factor": (10.0, lambda y, t: t * y),
    "divisor": (0.07, lambda y, t: y / t),
    "exponential divisor": (-1.5, lambda y, t: y / t.exp()),
}


@pytest.mark.parametrize("how", TEMPERATURES)
@pytest.mark.parametrize(("width", "tied"), [(32, False), (80, True)])
def test_logits_are_of_unit_size_after_the_authors_temperature(how, width, tied):
    value, apply = TEMPERATURES[how]

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.norm = nn.Embedding(60, width), nn.LayerNorm(width)
            self.head = nn.Linear(width, 60, bias=False)
            self.temperature = nn.Parameter(torch.tensor(value))
            if tied:
                self.head.weight = self.table.weight

        def forward(self, x):
            return apply(self.head(self.norm(torch.tanh(self.table(x)))), self.temperature)

    model, words = Scaled(), torch.arange(60)[None]
    goodinit.initialize(model, example=words, seed=0)
    assert model.temperature.item() == pytest.approx(value)
    with torch.no_grad():
        logits = model(words)[0]
    # A word's own logit is larger where the table is the output layer.
    others = logits[~torch.eye(60, dtype=torch.bool)]
    assert float(others.square().mean()) == pytest.approx(1.0, rel=0.3)
