"""One layer of an nn.Sequential filled in another way, all others left to the bit."""

from __future__ import annotations

import torch
from torch import nn

import goodinit
from goodinit.comparing.datasets import load
from goodinit.initializers import Constant, Initializer, KaimingNormal, Normal, Uniform, XavierNormal
from goodinit.lab.drawing import violin
from goodinit.lab.estimates import exact, fact, mean, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import dense
from goodinit.records import Fact, Picture, Sheet

# Width, seeds of the measurement, seeds and steps of the training.
_SIZES = {"small": (16, 4, 2, 40), "default": (32, 40, 16, 2000), "full": (32, 200, 64, 10000)}
_CHOSEN = "2.weight"
LAWS: dict[str, Initializer] = {
    "uniform(−0.1, 0.1)": Uniform(-0.1, 0.1),
    "normal(0, 1)": Normal(0.0, 1.0),
    "xavier_normal": XavierNormal(),
    "kaiming_normal": KaimingNormal("relu"),
    "constant 0.1": Constant(0.1),
}


def _measure(size: Size) -> Found:
    width, count, runs, steps = _SIZES[size]
    seeds = range(count)
    data = load("s4")

    def build() -> nn.Sequential:
        return dense((2, width, width, width, 1), nn.ReLU)

    model = build()
    base = goodinit.plan(model, "kaiming_normal", example=data.train_x)
    plans = {label: base.override({_CHOSEN: law}) for label, law in LAWS.items()}
    base.apply_(model, seed=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    facts: list[Fact] = []
    rows, violins = [], []
    touched = 0
    kept = {}
    for label, plan in plans.items():
        plan.apply_(model, seed=0)
        touched += sum(
            not torch.equal(parameter, before[name])
            for name, parameter in model.named_parameters()
            if name != _CHOSEN
        )
        violins.append(violin(label, model.get_parameter(_CHOSEN)))
        found = goodinit.check(
            model, (data.train_x, data.train_y), loss=nn.functional.mse_loss, predict=False
        )
        ratios = []
        for seed in seeds:
            plan.apply_(model, seed=seed)
            layers = {
                layer.name: layer.output.second_moment for layer in goodinit.probe(model, data.train_x).layers
            }
            ratios.append(layers["2"] / layers["0"])
        kept[label] = mean(ratios)
        rows.append(
            (
                label,
                str(plan[_CHOSEN].initializer),
                said(kept[label]),
                ", ".join(f"{each.code} {each.title}" for each in found.findings) or "nothing",
            )
        )
        facts.append(
            fact(
                f"{label}: second moment of the chosen layer's output over the one before",
                kept[label],
                1.0 if label == "kaiming_normal" else None,
                within=0.02,
            )
        )
    facts.append(fact("other parameters that change with the chosen one", exact(touched), 0.0))
    shifted = _shifted(model, base)
    facts.append(
        fact(
            "other parameters that change if torch's own stream fills and the chosen layer is constant",
            exact(shifted),
        )
    )
    made = goodinit.compare(
        build, plans, data, seeds=runs, steps=steps, lr=0.003, batch_size=10, evaluations=10, progress=False
    )
    scores = {each.plan: each for each in made.summaries}
    best = min(scores.values(), key=lambda each: each.score.value)
    worst = max(scores.values(), key=lambda each: each.score.value)
    facts += [
        fact(f"{label}: test loss after {steps} steps, median", each.score) for label, each in scores.items()
    ]
    facts += [fact(f"{label}: share of runs that diverged", each.diverged) for label, each in scores.items()]
    return Found(
        answer=(
            f"Filling {_CHOSEN} by {len(LAWS)} laws changes {touched} values of other parameters: each value "
            "depends on seed, name and index alone.",
            f"Its output's second moment over the one before is {said(kept['uniform(−0.1, 0.1)'])} for "
            f"uniform(−0.1, 0.1), {said(kept['normal(0, 1)'])} for normal(0, 1) and "
            f"{said(kept['kaiming_normal'])} for Kaiming.",
            f"After {steps} steps the median test loss is lowest with {best.plan}, {said(best.score)}, and "
            f"highest with {worst.plan}, {said(worst.score)}.",
        ),
        textbook="Right that one may choose layer by layer. With torch's own stream, though, the numbers of "
        f"layers drawn later shift: {shifted} other parameters change once the chosen layer is a constant.",
        settings={
            "model": f"2–{width}–{width}–{width}–1, ReLU, kaiming_normal elsewhere",
            "data": data.about,
            "seeds": f"0 to {count - 1} at the start, 0 to {runs - 1} in training",
            "training": f"SGD, lr 0.003, batch 10, {steps} steps ({steps * 10 / 700:.3g} passes)",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "chosen",
                f"What fills {_CHOSEN}",
                "The same layer, five laws, seed 0.",
                "law",
                "weight",
                violins=tuple(violins),
            ),
        ),
        sheets=(
            Sheet(
                "The chosen layer",
                ("law", "resolved", "second moment over the one before", "check says"),
                tuple(rows),
            ),
        ),
        comparisons=(made,),
    )


def _shifted(model: nn.Module, base: goodinit.Plan) -> int:
    """Return how many other parameters torch's stream fills differently once the chosen one draws nothing."""
    found = []
    for plan in (base, base.override({_CHOSEN: LAWS["constant 0.1"]})):
        torch.manual_seed(0)
        plan.apply_(model, engine="torch")
        found.append({name: parameter.detach().clone() for name, parameter in model.named_parameters()})
    return sum(not torch.equal(found[0][name], found[1][name]) for name in found[0] if name != _CHOSEN)


EXPERIMENT = Experiment(
    "chosen-layer",
    "Another law for one chosen layer",
    "The tutorials fill one layer of an nn.Sequential by uniform, normal, Xavier, Kaiming or a constant. "
    "What does the choice do to the signal and to training, and do the other layers stay what they were?",
    _measure,
    ("S4.7",),
)
