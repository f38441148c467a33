"""Is the init irrelevant under batch norm? By scale, learning rate and depth."""

from __future__ import annotations

import math

from torch import nn

from goodinit.comparing.datasets import load
from goodinit.initializers import Initializer, KaimingNormal, VarianceScaling
from goodinit.lab.drawing import grid
from goodinit.lab.estimates import fact, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import dense, normal_batch
from goodinit.lab.training import DEFAULT, DIGITS_BATCH, accuracy, reweighted, train_digits
from goodinit.lab.travel import travel
from goodinit.records import Fact, Interval, Picture

# Hidden layers, seeds, steps, learning rates; layers, width and seeds of the gradients' measurement.
_SIZES = {
    "small": ((4,), 2, 500, (0.1,), 8, 48, 4),
    "default": ((4, 12), 4, 500, (0.01, 0.1, 1.0, 10.0), 16, 128, 8),
    "full": ((4, 12, 24), 8, 1000, (0.01, 0.1, 0.3, 1.0, 10.0), 40, 256, 30),
}
_WIDTH = 32
_LAWS: dict[str, Initializer] = {
    "He / 10": VarianceScaling(math.sqrt(2) / 10, "fan_in", "normal"),
    "He": KaimingNormal("relu"),
    "He × 10": VarianceScaling(math.sqrt(2) * 10, "fan_in", "normal"),
}
_WITH, _WITHOUT = "batch norm", "no norm"
_GROWTH = math.pi / (math.pi - 1)  # Yang et al. 2019, a mean field theory of batch normalization


def _measure(size: Size) -> Found:
    depths, count, steps, rates, layers, width, draws = _SIZES[size]
    data = load("digits")
    labels = (DEFAULT, *_LAWS)
    norms = {_WITH: nn.BatchNorm1d, _WITHOUT: None}
    found: dict[tuple[str, int, str], dict[float, Interval]] = {}
    best: dict[tuple[str, int], dict[str, Interval]] = {}
    for name, norm in norms.items():
        for depth in depths:

            def build(depth: int = depth, norm: type[nn.BatchNorm1d] | None = norm) -> nn.Module:
                return dense((64, *[_WIDTH] * depth, 10), nn.ReLU, norm=norm)

            made = train_digits(build, _LAWS, seeds=count, steps=steps, rates=rates)
            best[name, depth] = {label: accuracy(made, label) for label in labels}
            for label in labels:
                found[name, depth, label] = {rate: accuracy(made, label, rate) for rate in rates}
    gaps = {
        key: max(each.value for each in row.values()) - min(each.value for each in row.values())
        for key, row in best.items()
    }
    shallow, deep = depths[0], depths[-1]
    slow = rates[0]
    at_rate = {label: found[_WITH, deep, label][slow] for label in labels}
    first, last = (order(at_rate.values(), key=lambda each: each.value) for order in (max, min))
    batch = normal_batch(2 * width, width)
    net = dense((width,) * (layers + 1), nn.ReLU, bias=False, norm=nn.BatchNorm1d)
    back = {}
    for label, law in _LAWS.items():
        plan = reweighted(net, {label: law}, batch)[label]
        back[label] = travel(net, plan, batch, range(draws), ("Linear",))
    facts: list[Fact] = [
        fact(
            f"{label}, batch norm: gradient's factor per layer",
            run.hidden.backward_factor,
            _GROWTH,
            within=0.03,
            source="π/(π − 1), Yang et al. 2019",
        )
        for label, run in back.items()
    ]
    facts += [
        fact(f"{name}, {depth} layers, {label}: accuracy at the best rate", each)
        for (name, depth), row in best.items()
        for label, each in row.items()
    ]
    ends = {label: best[_WITH, deep][label] for label in labels}
    same = max(each.low for each in ends.values()) <= min(each.high for each in ends.values())
    grown = back["He"].hidden.backward_factor
    scales = (back["He × 10"].backward_ratio, back["He / 10"].backward_ratio)
    return Found(
        answer=(
            f"Each init at its best rate, {deep} hidden layers: accuracies differ by "
            f"{gaps[_WITH, deep]:.2g} with batch "
            f"norm and by {gaps[_WITHOUT, deep]:.2g} without ({gaps[_WITH, shallow]:.2g} and "
            f"{gaps[_WITHOUT, shallow]:.2g} with {shallow}).",
            f"At one rate for all, {slow}, they differ by {first.value - last.value:.2g} under batch norm, "
            f"from "
            f"{said(last)} to {said(first)}: the scale of a weight sets its effective learning rate, "
            f"lr/‖w‖².",
            f"Whatever the scale, gradients grow by {said(grown)} per layer on the way back: after "
            f"{layers} layers by "
            f"{said(back['He'].backward_ratio)} (He), {said(scales[0])} (× 10), {said(scales[1])} (/ 10).",
        ),
        textbook="With batch norm the init does not matter: "
        + ("at the best rate no difference is seen" if same else "not even at the best rate, as measured")
        + f"; at a rate of {slow} "
        + ("wrong" if last.high < first.low else "no difference is clear either")
        + ". What it cannot cure is depth: the growth of gradients by π/(π − 1) per layer has nothing to do "
        "with the weights' scale.",
        settings={
            "training": f"64–{_WIDTH}×depth–10, ReLU, SGD, rates {', '.join(map(str, rates))}, "
            f"{steps} steps of {DIGITS_BATCH}, {steps * DIGITS_BATCH / len(data.train_x):.3g} passes, "
            f"seeds 0 to {count - 1}, paired",
            "gradients": f"{layers} layers of width {width}, {2 * width} samples, seeds 0 to {draws - 1}",
            "accuracy": "medians; a network that diverged counts as 0",
            "data": data.about,
        },
        facts=tuple(facts),
        pictures=(
            *(
                grid(
                    f"rates-{depth}-{'with' if name == _WITH else 'without'}",
                    f"Accuracy with {depth} layers, {name}",
                    "Chance is 0.1.",
                    {
                        label: {str(rate): each.value for rate, each in found[name, depth, label].items()}
                        for label in labels
                    },
                    x="learning rate",
                    y="init",
                    unit="test accuracy",
                )
                for name in norms
                for depth in (deep,)
            ),
            Picture(
                "gradients",
                "Second moment of the gradient at each layer, batch norm",
                "Three scales of the weights, one growth.",
                "layer",
                "second moment of the gradient",
                log_y=True,
                lines=tuple(run.lines(label)[1] for label, run in back.items()),
            ),
        ),
    )


EXPERIMENT = Experiment(
    "batch-norm-irrelevant",
    "Is the init irrelevant under batch norm?",
    "Batch norm divides the scale of the weights out of the signal. Does the init then still matter: at "
    "the best "
    "learning rate of each, at one rate for all, and in deep networks?",
    _measure,
    ("is init irrelevant under batch norm",),
)
