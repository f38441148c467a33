"""Violins of weights and gradients, layer by layer, for any model."""

from __future__ import annotations

import torch
from torch import nn

import goodinit
from goodinit.comparing.datasets import load
from goodinit.initializers import XavierUniform
from goodinit.lab.drawing import weights_vp
from goodinit.lab.estimates import exact, fact, short
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import convolutional, normal_batch, small
from goodinit.records import Fact, Picture

# Hidden layers of the tutorials' network, width of the other models.
_SIZES = {"small": (4, 8), "default": (4, 32), "full": (4, 128)}


class _Last(nn.Module):
    """The last step of a recurrent layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(width, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.gru(x)[0][:, -1])
        return out


def _measure(size: Size) -> Found:
    hidden, width = _SIZES[size]
    data = load("s4")
    pairs: dict[str, nn.Module] = {}
    for label in ("torch default", "Xavier uniform"):
        model = small(hidden, nn.Sigmoid)
        plan = goodinit.plan(model, "torch", example=data.train_x[:10])
        if label != "torch default":
            plan = plan.override({"*.weight": XavierUniform()})
        pairs[label] = plan.apply_(model, seed=420)
    weights, gradients = weights_vp(pairs, (data.train_x, data.train_y), nn.functional.mse_loss)

    others: dict[str, tuple[nn.Module, torch.Tensor]] = {
        "a convolutional network": (convolutional((3, width, width), nn.ReLU), normal_batch(4, 3, 8, 8)),
        "a recurrent network": (_Last(width), normal_batch(8, 10, width)),
        "a transformer": (
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True), 2
            ),
            normal_batch(4, 6, width),
        ),
    }
    facts: list[Fact] = []
    pictures: list[Picture] = [weights, gradients]
    for name, (other, batch) in others.items():
        goodinit.initialize(other, "torch", example=batch, seed=420)
        drawn = weights_vp(other, batch)
        matrices = sum(parameter.dim() > 1 for parameter in other.parameters())
        facts.append(
            fact(
                f"{name}: gradients' violins",
                exact(len(drawn[1].violins)),
                float(matrices),
                source="one for each matrix",
            )
        )
        pictures += [
            Picture(
                f"{name.split()[1]}-{each.key}",
                f"{each.title} of {name}",
                each.summary,
                each.x,
                each.y,
                violins=each.violins,
            )
            for each in drawn
        ]
    stds = [violin.moments.std for violin in weights.violins]
    half = len(stds) // 2
    wider = max(b / a for a, b in zip(stds[:half], stds[half:], strict=True))
    ratios = {}
    for label in pairs:
        sizes = [violin.moments.second_moment**0.5 for violin in gradients.violins if violin.group == label]
        ratios[label] = sizes[-1] / sizes[0]
        facts.append(
            fact(
                f"{label}: root mean square of the last layer's gradient over the first's",
                exact(ratios[label]),
            )
        )
    return Found(
        answer=(
            f"The last layer's gradient is {short(ratios['torch default'])} times the first's with torch's "
            f"default and {short(ratios['Xavier uniform'])} times with Xavier's weights: violins show it at "
            "a glance.",
            f"The weights themselves, layer by layer, differ in std by a factor of {wider:.3g} at most.",
            f"They are drawn for any model: {', '.join(others)} have "
            f"{sum(len(each.violins) for each in pictures)} with those above.",
        ),
        settings={
            "model": f"2→4→…→1 with {hidden} hidden layers of 4, sigmoid",
            "data": data.about,
            "seed": "420, one draw",
        },
        facts=tuple(facts),
        pictures=tuple(pictures),
    )


EXPERIMENT = Experiment(
    "violins",
    "Violins of weights and gradients",
    "How do weights and their gradients spread in each layer before training begins? The tutorials draw "
    "violins for their own network; weights_vp draws them for any model, several inits side by side.",
    _measure,
    ("S4.1",),
)
