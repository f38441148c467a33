"""Several models and inits trained side by side on the same batches: the tutorials' `model_comparison`."""

from __future__ import annotations

from torch import nn

from goodinit.comparing.datasets import load
from goodinit.initializers import Initializer, KaimingNormal, XavierUniform
from goodinit.lab.estimates import fact, median, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import Layer
from goodinit.lab.training import DEFAULT, S4_SETTINGS, S4_STEPS, at_pass, members, train_s4, tried, wins
from goodinit.records import Interval, Picture, Sheet

# Seeds, passes.
_SIZES = {"small": (6, 40), "default": (32, 780), "full": (100, 780)}
_XAVIER: dict[str, Initializer] = {"Xavier uniform": XavierUniform()}
_HE: dict[str, Initializer] = {"He normal": KaimingNormal("relu")}
_NETS: dict[str, tuple[int, Layer, dict[str, Initializer]]] = {
    "sigmoid3": (3, nn.Sigmoid, _XAVIER),
    "sigmoid4": (4, nn.Sigmoid, _XAVIER),
    "tanh3": (3, nn.Tanh, _XAVIER),
    "ReLU3": (3, nn.ReLU, _HE),
}
_RATE = 0.01


def _measure(size: Size) -> Found:
    count, passes = _SIZES[size]
    marks = sorted({1, 2, 5, *(round(passes * part / 10) for part in range(1, 11))})
    made = {
        name: train_s4(hidden, activation, laws, seeds=range(count), passes=marks, lr=_RATE)
        for name, (hidden, activation, laws) in _NETS.items()
    }
    # A model of one network and one init, by its label.
    final = {
        f"{name}, {plan}": at_pass(each, plan, _RATE, passes)
        for name, each in made.items()
        for plan in each.plans
    }
    order = sorted(final, key=lambda label: median(final[label]).value)
    gained: dict[str, Interval] = {}
    for name, each in made.items():
        law = each.plans[1]
        gained[f"{name}: {law} beats {DEFAULT}"] = wins(final[f"{name}, {law}"], final[f"{name}, {DEFAULT}"])
    best, second, worst = order[0], order[1], order[-1]
    close = wins(final[best], final[second])
    columns = ("model", "training loss", "test loss", "dead or diverged")
    rows = []
    for label in order:
        name, plan = label.split(", ")
        runs = members(made[name], plan, _RATE)
        trained = [run.train[-1] for run in runs if run.outcome != "diverged"]
        lost = sum(run.outcome != "finished" for run in runs)
        rows.append((label, said(median(trained)), said(median(final[label])), f"{lost} of {count}"))
    lines = {
        which: tuple(
            tried(f"{name}, {each.plan}", each.train if which == "train" else each.test, S4_STEPS)
            for name, found in made.items()
            for each in found.summaries
        )
        for which in ("train", "test")
    }
    helped = [words for words, share in gained.items() if share.low > 0.5]
    return Found(
        answer=(
            f"After {passes} passes at a rate of {_RATE} {best} is first with a median test loss of "
            f"{said(median(final[best]))}, {worst} last with {said(median(final[worst]))}.",
            f"The first beats the second, {second}, on {said(close, 2)} of {count} seeds.",
            f"More than by chance: {'; '.join(helped)}."
            if helped
            else "No init gains more than chance would.",
        ),
        settings={
            **S4_SETTINGS,
            "models": f"{len(final)}: {', '.join(_NETS)}, each with two inits",
            "data": load("s4").about,
            "batches": "a function of the seed and the step alone, so the same for all models",
            "seeds": f"0 to {count - 1}, paired",
            "passes": str(passes),
            "learning rate": str(_RATE),
        },
        facts=(
            *(fact(f"{label}: median test loss", median(values)) for label, values in final.items()),
            *(fact(f"share of seeds on which {words}", share) for words, share in gained.items()),
        ),
        pictures=tuple(
            Picture(
                which,
                f"{'Training' if which == 'train' else 'Test'} loss",
                "Median and 80 % of the seeds, all models on the same batches.",
                "passes",
                "mean squared error",
                log_y=True,
                lines=each,
            )
            for which, each in lines.items()
        ),
        sheets=(Sheet("By test loss", columns, tuple(rows)),),
    )


EXPERIMENT = Experiment(
    "side-by-side",
    "Several models side by side",
    "The tutorials train their networks next to each other on the same batches and plot the training and "
    "test "
    "curves. The same for all networks and inits, with many seeds at once: who is first, and by chance or "
    "not?",
    _measure,
    ("S4.10",),
)
