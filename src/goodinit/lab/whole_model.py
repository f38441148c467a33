"""Walk a whole model and treat each kind of parameter in its own way: by type, by name, by role."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import goodinit
from goodinit.errors import UncoveredError
from goodinit.graph import Graph, Place, Use
from goodinit.initializers import Constant, KaimingNormal, Normal, XavierUniform
from goodinit.lab.drawing import violin
from goodinit.lab.estimates import exact, fact
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.plans import Plan
from goodinit.recipes import Decision, Recipe, Rule
from goodinit.records import Picture, Sheet


class Net(nn.Module):
    """Convolutions, norms, a linear head, and a parameter of its own that no layer type describes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.mix = nn.Parameter(torch.randn(channels, 2 * channels))
        self.head = nn.Linear(2 * channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(torch.relu(self.body(x).mean((2, 3)) @ self.mix))
        return out


def _typed(place: Place, use: Use) -> Decision | None:
    """Linear, convolution and norm layers each in their own way, weight and bias apart."""
    module = use.module
    if isinstance(module, nn.Conv2d | nn.Linear) and use.local == "bias":
        return Decision(Constant(0.0), "bias of a linear map: 0")
    if isinstance(module, nn.Conv2d):
        fan_in = float(module.in_channels * module.kernel_size[0] * module.kernel_size[1])
        return Decision(KaimingNormal("relu"), "a convolution before ReLU", fan_in)
    if isinstance(module, nn.Linear):
        return Decision(XavierUniform(), "linear", float(module.in_features), float(module.out_features))
    if isinstance(module, nn.BatchNorm2d):
        return Decision(Constant(float(use.local == "weight")), "a norm starts neutral")
    return None


def _by_role(graph: Graph) -> tuple[Rule, ...]:
    """The graph knows which weight makes the output and which feeds a nonlinearity."""

    def rule(place: Place, use: Use) -> Decision | None:
        found = graph.principal(place.name)
        if found is None or not found.contracts:
            return None
        law = Normal(0.0, 0.01) if found.head else KaimingNormal("relu")
        why = "the last map starts small" if found.head else "its output meets ReLU"
        return Decision(law, why, found.fan_in, found.fan_out)

    return (rule, _typed)


_TYPES = Recipe("by type", "one law for each type of layer", (_typed,))
_ROLES = Recipe("by role", "the head small, what meets ReLU by He", (_typed,), _by_role)


def tutorial_loop(model: nn.Module) -> None:
    """As the tutorial writes it: it asks parameters for the types of modules, which no parameter is."""
    for _, parameter in model.named_parameters():
        if isinstance(parameter, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(parameter)


def _without_its_test(model: nn.Module) -> None:
    for parameter in model.parameters():
        nn.init.xavier_uniform_(parameter)


def changed(model: nn.Module, change: Callable[[nn.Module], object]) -> int:
    """Return how many parameters of a model a function changes."""
    before = [parameter.detach().clone() for parameter in model.parameters()]
    change(model)
    return sum(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def _refusal(attempt: Callable[[], object], kind: type[Exception]) -> str:
    try:
        attempt()
    except kind as error:
        return str(error).splitlines()[0] + " " + " ".join(str(error).splitlines()[1:2])
    return ""


def _measure(size: Size) -> Found:
    torch.manual_seed(0)
    model = Net({"small": 8, "default": 32, "full": 128}[size])
    example = torch.randn(4, 3, 8, 8)
    total = len(list(model.parameters()))
    nothing = changed(model, tutorial_loop)
    crash = _refusal(lambda: _without_its_test(model), ValueError)
    uncovered = _refusal(lambda: goodinit.plan(model, _TYPES, example=example), UncoveredError)

    plans: dict[str, Plan] = {
        "by type": goodinit.plan(model, _TYPES, example=example, overrides={"mix": XavierUniform()}),
        "by name": goodinit.plan(
            model, "kaiming_normal", example=example, overrides={"re:head.*": 0.0, "*.bias": 0.1}
        ),
        "by role": goodinit.plan(model, _ROLES, example=example),
    }
    follow = sum(bool(plan.verify(plan.apply_(model, seed=1), seed=1)) for plan in plans.values())
    rows = tuple(
        (
            row.name,
            "×".join(map(str, row.shape)),
            *(str(plan[row.name].initializer) for plan in plans.values()),
        )
        for row in plans["by type"]
    )
    plans["by role"].apply_(model, seed=0)
    weights = tuple(violin(n, p) for n, p in model.named_parameters() if p.dim() > 1)
    facts = (
        fact("parameters that the tutorial's loop changes", exact(nothing), float(total), source="every one"),
        *(
            fact(f"parameters that a plan {label} covers", exact(len(plan)), float(total), source="every one")
            for label, plan in plans.items()
        ),
        fact("plans that the model then verifiably follows, bit for bit", exact(follow), float(len(plans))),
        fact("errors that name the parameter which no rule covers", exact(int("mix" in uncovered)), 1.0),
        fact("errors of the loop without its test, at the first vector", exact(int(bool(crash))), 1.0),
    )
    return Found(
        answer=(
            f"The tutorial's loop over named_parameters changes {nothing} of {total} parameters and says "
            "nothing.",
            f"Without its type test it crashes: {crash.strip()}.",
            f"A plan has {len(plans['by role'])} rows for {total} parameters, weight and bias apart, by "
            f"type, by name or by role; after {follow} of {len(plans)} plans the model verifiably follows "
            "them to the bit.",
            f"Rules by type alone leave one out, and that is an error: {' '.join(uncovered.split())}",
        ),
        textbook="Wrong as printed: a parameter is never an instance of a layer, so the loop never enters "
        "its branch.",
        settings={
            "model": "two convolutions, two batch norms, a Parameter used in a matmul, a linear head",
            "seed": "0",
        },
        facts=facts,
        pictures=(
            Picture(
                "weights",
                "Weights by role",
                "The head starts narrow, the rest by He.",
                "layer",
                "weight",
                violins=weights,
            ),
        ),
        sheets=(Sheet("What fills each parameter", ("parameter", "shape", *plans), rows),),
    )


EXPERIMENT = Experiment(
    "whole-model",
    "A whole model, each layer in its own way",
    "One walks over all parameters of a model to treat linear, convolution and norm layers differently. Does "
    "the tutorial's loop do that? How does one say it by type, by name pattern or by role, weight and bias "
    "apart, and what happens to a parameter that no rule covers?",
    _measure,
    ("S0.3",),
)
