"""He's init on the tutorials' ReLU network: what it gains early, and what is left of that at the end."""

from __future__ import annotations

from torch import nn

from goodinit.comparing.datasets import load
from goodinit.initializers import Initializer, KaimingNormal, KaimingUniform
from goodinit.lab.drawing import curve
from goodinit.lab.estimates import fact, median, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.training import DEFAULT, S4_SETTINGS, S4_STEPS, at_pass, train_s4, tried, wins
from goodinit.records import Interval, Line, Picture

# Seeds, and after which passes to look.
_SIZES = {
    "small": (16, (5, 10, 50, 200)),
    "default": (64, (1, 2, 5, 10, 20, 50, 100, 190, 400, 780)),
    "full": (200, (1, 2, 5, 10, 20, 50, 100, 190, 400, 780)),
}
_LAWS: dict[str, Initializer] = {"He uniform": KaimingUniform("relu"), "He normal": KaimingNormal("relu")}
_HIDDEN, _RATE, _EARLY = 3, 0.001, 10


def _measure(size: Size) -> Found:
    count, marks = _SIZES[size]
    last = marks[-1]
    made = train_s4(_HIDDEN, nn.ReLU, _LAWS, seeds=range(count), passes=marks, lr=_RATE)
    losses = {plan: {at: at_pass(made, plan, _RATE, at) for at in marks} for plan in (DEFAULT, *_LAWS)}
    won: dict[str, dict[int, Interval]] = {
        plan: {at: wins(losses[plan][at], losses[DEFAULT][at]) for at in marks} for plan in _LAWS
    }
    facts = []
    for plan in _LAWS:
        facts += [
            fact(
                f"{plan}: share of seeds on which it beats the default after {_EARLY} passes",
                won[plan][_EARLY],
                (0.8, 1.0),
                source="early gain clear",
            ),
            fact(
                f"{plan}: share of seeds on which it beats the default after {last} passes",
                won[plan][last],
                (0.4, 0.65) if last == 780 else None,
                source="final difference marginal" if last == 780 else "",
            ),
        ]
    facts += [
        fact(f"{plan}: median test loss after {at} passes", median(losses[plan][at]))
        for plan in losses
        for at in (_EARLY, last)
    ]
    early, late = won["He normal"][_EARLY], won["He normal"][last]
    settled = "too little to tell from none" if late.low <= 0.5 <= late.high else "still a difference"
    behind = [at for at in marks if won["He normal"][at].low > 0.5]
    return Found(
        answer=(
            f"After {_EARLY} passes He's init (normal) is ahead on {said(early)} of the seeds, and the "
            f"median test "
            f"loss is {said(median(losses['He normal'][_EARLY]))} against "
            f"{said(median(losses[DEFAULT][_EARLY]))}.",
            f"After {last} passes it is ahead on {said(late)}, {settled}: "
            f"{said(median(losses['He normal'][last]))} against {said(median(losses[DEFAULT][last]))}.",
            f"The lead can be told from chance up to pass {max(behind)}."
            if behind
            else f"With {count} seeds its lead cannot be told from chance.",
        ),
        textbook="He's init is said to make ReLU networks train. At three hidden layers it makes them "
        "start: the "
        "default's smaller weights cost it the first passes, and after them it catches up.",
        settings={
            **S4_SETTINGS,
            "activation": f"ReLU, {_HIDDEN} hidden layers",
            "data": load("s4").about,
            "seeds": f"0 to {count - 1}, paired",
            "passes": str(last),
            "learning rate": f"{_RATE}: at 0.03 half of the networks die, see dead-relu",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "curves",
                "Test loss",
                "Median and 80 % of the seeds.",
                "passes",
                "mean squared error",
                log_y=True,
                lines=tuple(tried(each.plan, each.test, S4_STEPS) for each in made.summaries),
            ),
            Picture(
                "wins",
                "Share of seeds on which He's init beats torch's default",
                "Bands: Wilson intervals; 0.5 is no difference.",
                "passes",
                "share of seeds",
                log_x=True,
                lines=(
                    *(
                        Line(
                            plan,
                            tuple(map(float, marks)),
                            tuple(each.value for each in row.values()),
                            tuple(each.low for each in row.values()),
                            tuple(each.high for each in row.values()),
                        )
                        for plan, row in won.items()
                    ),
                    curve("no difference", (marks[0], last), (0.5, 0.5), theory=True),
                ),
            ),
        ),
        comparisons=(made,),
    )


EXPERIMENT = Experiment(
    "kaiming-on-s4",
    "He's init on a ReLU network",
    "Does He's init, with its factor of 2 for what ReLU cuts off, help the tutorials' network of three "
    "hidden "
    "ReLU layers, early in training and at the end of it, seed by seed?",
    _measure,
    ("S4.9",),
)
