"""How deep can sigmoid, tanh and ReLU networks be and still train, with which init?"""

from __future__ import annotations

from torch import nn

from goodinit.comparing.datasets import load
from goodinit.initializers import Initializer, KaimingNormal, Orthogonal, XavierNormal
from goodinit.lab.drawing import grid
from goodinit.lab.estimates import fact, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import Layer, dense
from goodinit.lab.training import DEFAULT, DIGITS_BATCH, accuracy, train_digits
from goodinit.records import Fact, Interval, Line, Picture

# Activations, depths, seeds, steps, learning rates.
_ALL = ("sigmoid", "tanh", "ReLU")
_SIZES = {
    "small": (("sigmoid", "ReLU"), (8,), 3, 500, (0.1,)),
    "default": (_ALL, (1, 2, 4, 8, 16), 6, 500, (0.03, 0.1, 0.3)),
    "full": (_ALL, (1, 2, 4, 8, 16, 32), 12, 1000, (0.01, 0.03, 0.1, 0.3)),
}
_WIDTH = 32
_ACTIVATIONS: dict[str, Layer] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "ReLU": nn.ReLU}
_LAWS: dict[str, Initializer] = {
    "Xavier": XavierNormal(),
    "He": KaimingNormal("relu"),
    "orthogonal": Orthogonal(),
}
_TRAINED, _CHANCE = 0.5, 0.1  # test accuracy


def _deepest(reached: dict[int, Interval]) -> int:
    """Return the largest depth that trains, with all smaller ones; 0 if none does."""
    found = 0
    for depth, each in reached.items():
        if each.value < _TRAINED:
            break
        found = depth
    return found


def _measure(size: Size) -> Found:
    names, depths, count, steps, rates = _SIZES[size]
    data = load("digits")
    seen: dict[str, dict[str, dict[int, Interval]]] = {}
    for name in names:
        activation = _ACTIVATIONS[name]
        rows: dict[str, dict[int, Interval]] = {label: {} for label in (DEFAULT, *_LAWS)}
        for depth in depths:

            def build(depth: int = depth, activation: Layer = activation) -> nn.Module:
                return dense((64, *[_WIDTH] * depth, 10), activation)

            made = train_digits(build, _LAWS, seeds=count, steps=steps, rates=rates)
            for label, row in rows.items():
                row[depth] = accuracy(made, label)
        seen[name] = rows
    deepest = {name: {label: _deepest(row) for label, row in rows.items()} for name, rows in seen.items()}
    last = depths[-1]
    facts: list[Fact] = [
        fact(f"{name}, {label}: accuracy with {last} hidden layers", row[last])
        for name, rows in seen.items()
        for label, row in rows.items()
    ]
    best = {name: max(rows, key=lambda label: rows[label][last].value) for name, rows in seen.items()}
    at_depth = {
        name: f"{label} is best, {said(seen[name][label][last])}"
        if seen[name][label][last].value >= _TRAINED
        else "none does better than chance"
        if max(row[last].high for row in seen[name].values()) < 2 * _CHANCE
        else "none trains"
        for name, label in best.items()
    }
    reach = {name: max(row.values()) for name, row in deepest.items()}
    others = min(depth for name, depth in reach.items() if name != "sigmoid")
    return Found(
        answer=tuple(
            f"{name}: up to {reach[name]} hidden layers train ("
            + ", ".join(f"{label} {depth}" for label, depth in row.items())
            + f"); with {last} {at_depth[name]}."
            for name, row in deepest.items()
        ),
        textbook="Xavier for sigmoid and tanh, He for ReLU: measured with "
        f"{last} hidden layers, {'; '.join(f'{name}: {words}' for name, words in at_depth.items())}. "
        f"For the sigmoid no init cures depth: it reaches {reach['sigmoid']} layers at most, where the "
        f"others "
        f"reach {others}: no scale keeps both its signals and its gradients."
        if reach["sigmoid"] < others
        else f"Sigmoid reaches {reach['sigmoid']} layers, the others {others}.",
        settings={
            "network": f"64–{_WIDTH}×depth–10, weights filled anew, biases torch's",
            "data": data.about,
            "seeds": f"0 to {count - 1}, paired",
            "passes": f"{steps} steps of {DIGITS_BATCH}, "
            f"{steps * DIGITS_BATCH / len(data.train_x):.3g} passes",
            "learning rate": f"each at the best of {', '.join(map(str, rates))}, plain SGD",
            "trains": f"median test accuracy of at least {_TRAINED} at this and all smaller depths",
        },
        facts=tuple(facts),
        pictures=(
            grid(
                "map",
                "Median test accuracy at the best rate",
                "Chance is 0.1.",
                {
                    f"{name}, {label}": {str(depth): each.value for depth, each in row.items()}
                    for name, rows in seen.items()
                    for label, row in rows.items()
                },
                x="hidden layers",
                y="activation and init",
                unit="test accuracy",
            ),
            *(
                Picture(
                    f"by-depth-{name.lower()}",
                    f"{name}: test accuracy by depth",
                    "Bands: intervals of the median.",
                    "hidden layers",
                    "test accuracy",
                    log_x=True,
                    lines=tuple(
                        Line(
                            label,
                            tuple(map(float, row)),
                            tuple(each.value for each in row.values()),
                            tuple(each.low for each in row.values()),
                            tuple(each.high for each in row.values()),
                        )
                        for label, row in rows.items()
                    ),
                )
                for name, rows in seen.items()
            ),
        ),
    )


EXPERIMENT = Experiment(
    "depth-sweep",
    "Who trains, by depth",
    "Sigmoid, tanh and ReLU networks of growing depth on the same task, each with torch's default, Xavier's, "
    "He's and an orthogonal init and at its best learning rate: up to which depth does each still train?",
    _measure,
    ("sigmoid/tanh/ReLU depth sweep",),
)
