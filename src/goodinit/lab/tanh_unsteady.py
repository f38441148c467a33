"""Training of the tanh network is unsteady: how often, how much, and what steadies it."""

from __future__ import annotations

import itertools

from torch import nn

from goodinit.comparing.datasets import load
from goodinit.initializers import Initializer, XavierUniform
from goodinit.lab.drawing import curve
from goodinit.lab.estimates import fact, median, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import Layer
from goodinit.lab.training import DEFAULT, S4_SETTINGS, S4_STEPS, members, train_s4
from goodinit.records import Interval, Line, MemberRun, Picture

# Seeds, passes, learning rates.
_SIZES = {
    "small": (8, 40, (0.003, 0.03)),
    "default": (32, 190, (0.001, 0.003, 0.01, 0.03, 0.1)),
    "full": (128, 190, (0.001, 0.003, 0.01, 0.03, 0.1)),
}
_LAWS: dict[str, Initializer] = {"Xavier uniform": XavierUniform()}
_NETS: dict[str, Layer] = {"tanh3": nn.Tanh, "sigmoid3": nn.Sigmoid}
_HIDDEN, _FAST, _SLOW = 3, 0.03, 0.003
_RISE = 1.1  # the training loss after a pass over the one before: what counts as a jump


def jumps(run: MemberRun) -> float:
    """Return the share of passes, in the last quarter, after which the training loss is up by 10 % or "
    "more.
    """
    kept = run.train[-(len(run.train) // 4) - 1 :]
    rises = [after > _RISE * before for before, after in itertools.pairwise(kept)]
    return sum(rises) / len(rises)


def _measure(size: Size) -> Found:
    count, passes, rates = _SIZES[size]
    seen: dict[tuple[str, str], dict[float, Interval]] = {}
    shown: list[Line] = []
    for name, activation in _NETS.items():
        made = train_s4(_HIDDEN, activation, _LAWS, seeds=range(count), passes=range(1, passes + 1), lr=rates)
        for plan in made.plans:
            seen[name, plan] = {
                rate: median([jumps(run) for run in members(made, plan, rate)]) for rate in rates
            }
        for rate in (_FAST, _SLOW):
            # The member whose final loss is the median one, so that the curve is no choice of ours.
            runs = sorted(members(made, DEFAULT, rate), key=lambda run: run.train[-1])
            middle = runs[len(runs) // 2]
            steps = [step / S4_STEPS for step in made.steps]
            shown.append(curve(f"{name}, rate {rate} (seed {middle.seed})", steps, middle.train))
    decayed = train_s4(
        _HIDDEN,
        nn.Tanh,
        {},
        seeds=range(count),
        passes=range(1, passes + 1),
        lr=_FAST,
        schedule="linear",
    )
    calm = median([jumps(run) for run in decayed.runs])
    learned = [
        f"{name} with {plan} {said(row[_FAST], 2)}" for (name, plan), row in seen.items() if name != "tanh3"
    ]
    tanh = seen["tanh3", DEFAULT]
    xavier = seen["tanh3", "Xavier uniform"]
    steadier = "no steadier" if xavier[_FAST].high >= tanh[_FAST].low else "steadier"
    facts = [
        fact(f"{name}, {plan}, rate {rate}: share of passes after which the loss jumps", row[rate])
        for (name, plan), row in seen.items()
        for rate in (_FAST, _SLOW)
    ]
    facts.append(
        fact(f"tanh3, {DEFAULT}, rate falling from {_FAST} to 0: share of passes after which it jumps", calm)
    )
    return Found(
        answer=(
            f"The training loss of the tanh network is up by {100 * (_RISE - 1):.0f} % or more after "
            f"{said(tanh[_FAST], 2)} of its passes at a rate of {_FAST}, and after {said(tanh[_SLOW], 2)} at "
            f"{_SLOW} (medians of {count} seeds, last quarter of {passes} passes).",
            f"Xavier's init makes it {steadier}: {said(xavier[_FAST], 2)} at {_FAST}.",
            f"A rate that falls to 0 does: {said(calm, 2)}."
            if calm.high < tanh[_FAST].low
            else f"Nor does a rate that falls to 0: {said(calm, 2)}.",
            f"At {_FAST} the share of {', of '.join(learned)}.",
        ),
        textbook="The tutorials show the unsteady curve and then another init. Between inits the share "
        "differs by "
        f"{abs(tanh[_FAST].value - xavier[_FAST].value):.2g}, between a constant rate and one that falls "
        f"to 0 by "
        f"{tanh[_FAST].value - calm.value:.2g}: it is the noise of small batches at a constant rate.",
        settings={
            **S4_SETTINGS,
            "data": load("s4").about,
            "seeds": f"0 to {count - 1}, paired",
            "passes": str(passes),
            "learning rates": ", ".join(map(str, rates)),
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "curves",
                "Training loss after each pass",
                "Of each network and rate the seed that ends at the median.",
                "passes",
                "mean squared error",
                log_y=True,
                lines=tuple(shown),
            ),
            Picture(
                "jumps",
                "Share of passes after which the training loss is up by 10 % or more",
                "Bands: intervals of the median over seeds.",
                "learning rate",
                "share of passes",
                log_x=True,
                lines=tuple(
                    Line(
                        f"{name}, {plan}",
                        tuple(row),
                        tuple(each.value for each in row.values()),
                        tuple(each.low for each in row.values()),
                        tuple(each.high for each in row.values()),
                    )
                    for (name, plan), row in seen.items()
                ),
            ),
        ),
    )


EXPERIMENT = Experiment(
    "tanh-unsteady",
    "The tanh network trains unsteadily",
    "The training curve of the tutorials' tanh network goes up and down. How often, over many seeds, and is "
    "it a matter of the init, of the activation or of the learning rate?",
    _measure,
    ("S4.3",),
)
