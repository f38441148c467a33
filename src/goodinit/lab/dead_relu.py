"""Dead ReLU networks: constant outputs, by learning rate and by init."""

from __future__ import annotations

from torch import nn

from goodinit.comparing.datasets import load
from goodinit.initializers import Initializer, KaimingNormal, XavierUniform
from goodinit.lab.drawing import grid
from goodinit.lab.estimates import fact, said, share
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.training import DEFAULT, S4_SETTINGS, S4_STEPS, members, train_s4, tried
from goodinit.records import Interval, Line, Picture

# Seeds, passes, learning rates.
_SIZES = {
    "small": (12, 60, (0.001, 0.03)),
    "default": (64, 190, (0.001, 0.003, 0.01, 0.03, 0.1)),
    "full": (256, 190, (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)),
}
_LAWS: dict[str, Initializer] = {"Xavier uniform": XavierUniform(), "He normal": KaimingNormal("relu")}
_HIDDEN = 3
_FAST, _SLOW = 0.03, 0.001
# What "about half" and "at most a few percent" are taken to mean.
_HALF, _FEW = (1 / 3, 2 / 3), (0.0, 0.05)


def _measure(size: Size) -> Found:
    count, passes, rates = _SIZES[size]
    marks = sorted({round(passes * part / 10) for part in range(1, 11)})
    made = train_s4(_HIDDEN, nn.ReLU, _LAWS, seeds=range(count), passes=marks, lr=rates)
    dead: dict[str, dict[float, Interval]] = {
        plan: {
            rate: share(sum(run.outcome == "dead" for run in members(made, plan, rate)), count)
            for rate in rates
        }
        for plan in made.plans
    }
    source = f"{passes} passes" if passes == 190 else f"said of 190 passes, here {passes}"
    facts = [
        fact(f"{plan}: share of dead networks at rate {rate}", dead[plan][rate], stated, source=source)
        for rate, stated in ((_FAST, _HALF), (_SLOW, _FEW))
        for plan in made.plans
    ]
    fast = [dead[plan][_FAST] for plan in made.plans]
    slow = [dead[plan][_SLOW] for plan in made.plans]
    curves = [
        tried(f"{each.plan}, rate {each.lr}", each.test, S4_STEPS)
        for each in made.summaries
        if each.lr in (_FAST, _SLOW) and each.plan != "Xavier uniform"
    ]
    apart = max(each.value for each in fast) - min(each.value for each in fast)
    between = min(each.value for each in fast) - max(each.value for each in slow)
    cause = "The learning rate is the cause and not the init" if between > apart else "Both count"
    he = dead["He normal"][_FAST]
    verdict = "wrong" if he.low > _FEW[1] else "right" if he.high < _HALF[0] else "open with so few seeds"
    return Found(
        answer=(
            f"At a rate of {_FAST} after {passes} passes "
            + ", ".join(f"{said(dead[plan][_FAST], 2)} of the networks with {plan}" for plan in made.plans)
            + f" put out the same number for every training input; at {_SLOW} "
            + ", ".join(said(each, 2) for each in slow)
            + ".",
            f"{cause}: between inits the share at {_FAST} differs by {apart:.2g}, between rates by "
            f"{between:.2g} or more.",
        ),
        textbook=f"A smaller learning rate relieves it: {'right' if between > 0 else 'not seen here'}. "
        f"He's init, "
        f"made for ReLU, prevents it: {verdict}; at {_FAST} its share is {said(he, 2)}, torch's "
        f"{said(dead[DEFAULT][_FAST], 2)}.",
        settings={
            **S4_SETTINGS,
            "activation": f"ReLU, {_HIDDEN} hidden layers",
            "data": load("s4").about,
            "seeds": f"0 to {count - 1}, paired",
            "passes": str(passes),
            "learning rates": ", ".join(map(str, rates)),
            "dead": "the output is the same for all 700 training inputs, up to rounding",
        },
        facts=tuple(facts),
        pictures=(
            grid(
                "map",
                "Share of dead networks",
                "Columns are learning rates, rows inits.",
                {plan: {f"{rate}": dead[plan][rate].value for rate in rates} for plan in made.plans},
                x="learning rate",
                y="init",
                unit="share of seeds",
            ),
            Picture(
                "by-rate",
                "Share of dead networks by learning rate",
                "Bands: Wilson intervals.",
                "learning rate",
                "share of seeds",
                log_x=True,
                lines=tuple(
                    Line(
                        plan,
                        rates,
                        tuple(each.value for each in row.values()),
                        tuple(each.low for each in row.values()),
                        tuple(each.high for each in row.values()),
                    )
                    for plan, row in dead.items()
                ),
            ),
            Picture(
                "curves",
                "Test loss",
                "Median and 80 % of the seeds: the fast rate is ahead for a few passes, and then dies.",
                "passes",
                "mean squared error",
                log_y=True,
                lines=tuple(curves),
            ),
        ),
    )


EXPERIMENT = Experiment(
    "dead-relu",
    "Dead ReLU networks: learning rate against init",
    "A small ReLU network can end with the same output for every input: all units of a layer are off, no "
    "gradient passes, and nothing revives them. How often does that happen, and is it the init's doing or "
    "the learning rate's?",
    _measure,
    ("S4.5", "S4.6", "dead ReLU: learning rate × init"),
)
