"""How well `auto` holds signals and gradients in plain deep networks, for every activation of torch.nn.

For each activation, width and depth a plain MLP (Linear, activation, …) is planned by
`auto` from its traced graph and filled under several seeds. Measured on standard-normal
inputs, as means over the seeds:

- forward: largest over smallest second moment of the pre-activations across depth (bound 3);
- gradient: the same of the gradients that reach them from a random linear functional (bound 10).

Beside them stand the factors under the recipe `kaiming_normal` and under torch's default.

What cannot be held is announced by the plan beforehand, with a number. A second table takes
networks whose layers have no biases, or an odd width, so that mirrored weights cannot hold them,
reads the number that the plan announces, and measures it over many draws:

- layers: for how many first layers one input's second moment stays within a factor of 3 (mean);
- gradient: the factor of one input's gradient from the last hidden layer to the first (median);
- correlation: the cosine of two independent inputs in the last hidden layer (median).

`said` stands where the measurement is within 20 % of the number: of `layers`, of the logarithm of
`gradient` (or of the factor itself, where it is below e), of 1 − `correlation`. Else `MISSED`.

    python benchmarks/depth.py [--seeds 4] [--draws 32]
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable

import torch
from _machine import save
from torch import nn

import goodinit

FORWARD, GRADIENT = 3.0, 10.0
WITHIN = 0.2


class Function(nn.Module):
    """A lambda as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""
        return self.function(x)


NAMES = """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU
ReLU ReLU6 RReLU SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink"""
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {name: getattr(nn, name) for name in NAMES.split()}
ACTIVATIONS |= {
    "Threshold(0.1, 0)": lambda: nn.Threshold(0.1, 0.0),
    "λ x·σ(1.702x)": lambda: Function(lambda x: x * torch.sigmoid(1.702 * x)),
    "λ sin x": lambda: Function(torch.sin),
    "λ where(x>0, x, 0.3x)": lambda: Function(lambda x: torch.where(x > 0, x, 0.3 * x)),
    "λ log(1+eˣ)−0.69": lambda: Function(lambda x: torch.log1p(x.exp()) - 0.69),
    "λ x²": lambda: Function(lambda x: x * x),
    "λ relu(x)³": lambda: Function(lambda x: torch.relu(x) ** 3),
}


UNHELD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "λ x²": lambda x: x * x,
    "λ relu(x)³": lambda x: torch.relu(x) ** 3,
    "λ x³": lambda x: x**3,
    "λ cosh x": torch.cosh,
    "λ x·|x|": lambda x: x * x.abs(),
    "λ x·sin x": lambda x: x * torch.sin(x),
    "λ sin² x": lambda x: torch.sin(x) ** 2,
}
ALIKE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "ReLU": torch.relu,
    "Mish": nn.functional.mish,
    "ELU": nn.functional.elu,
    "Sigmoid": torch.sigmoid,
}


def network(activation: Callable[[], nn.Module], width: int, depth: int, bias: bool = True) -> nn.Sequential:
    """A plain MLP of `depth` hidden layers and a linear output; random activations in eval mode."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=bias), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10)).eval()


def factors(
    model: nn.Sequential, fill: Callable[[int], object], width: int, seeds: int
) -> tuple[float, float]:
    """Largest over smallest mean second moment across depth: of signals, of gradients."""
    linears = [layer for layer in model if isinstance(layer, nn.Linear)][:-1]
    forward = torch.zeros(len(linears), dtype=torch.float64)
    backward = torch.zeros(len(linears), dtype=torch.float64)
    for seed in range(seeds):
        fill(seed)
        outputs: list[torch.Tensor] = []

        def keep(
            module: nn.Module, args: object, output: torch.Tensor, kept: list[torch.Tensor] = outputs
        ) -> None:
            output.retain_grad()
            kept.append(output)

        hooks = [layer.register_forward_hook(keep) for layer in linears]
        generator = torch.Generator().manual_seed(seed)
        result = model(torch.randn(64, width, generator=generator))
        (result * torch.randn(result.shape, generator=generator)).sum().backward()
        for hook in hooks:
            hook.remove()
        forward += torch.stack([out.detach().double().square().mean() for out in outputs]) / seeds
        backward += torch.stack([out.grad.double().square().mean() for out in outputs]) / seeds  # type: ignore[union-attr]
        model.zero_grad()
    return tuple(  # type: ignore[return-value]
        float(moment.max() / moment.min()) if bool((moment > 0).all()) else math.inf
        for moment in (forward, backward)
    )


def announced(plan: goodinit.Plan) -> tuple[str, float] | None:
    """The quantity and the number that the plan announces; None where it announces nothing."""
    said = next((row.announced for row in plan if row.announced is not None), None)
    return None if said is None else (said.quantity, said.predicted)


def measured(what: str, model: nn.Sequential, plan: goodinit.Plan, draws: int, inputs: int = 16) -> float:
    """The same quantity, over draws of the weights and of inputs."""
    linears = [layer for layer in model if isinstance(layer, nn.Linear)][:-1]
    first = plan["0.weight"]
    q = first.std**2 * first.fan_in  # what the first weight puts out, and every later one holds
    found = []
    for seed in range(draws):
        plan.apply_(model, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(inputs, linears[0].in_features, generator=generator)
        signals = []
        for layer in model[:-2]:
            x = layer(x)
            if isinstance(layer, nn.Linear):
                signals.append(x)
        if what == "layers":
            ratio = torch.stack([h.detach().double().square().mean(1) for h in signals]) / q
            found.append(((ratio >= 1 / FORWARD) & (ratio <= FORWARD)).double().cumprod(0).sum(0))
        elif what == "gradient":
            g = torch.randn(signals[-1].shape, generator=generator)
            (back,) = torch.autograd.grad((signals[-1] * g).sum(), signals[0])
            found.append(back.double().square().mean(1) / g.double().square().mean(1))
        else:
            unit = nn.functional.normalize(signals[-1].detach().double())
            found.append((unit @ unit.T)[~torch.eye(inputs, dtype=torch.bool)])
    values = torch.cat(found)
    return float(values.mean() if what == "layers" else values.median())


def deviation(what: str, predicted: float, value: float) -> float:
    """Relative deviation of a measured value, as this file's head defines it."""
    if what == "layers":
        return abs(value / predicted - 1)
    if what == "gradient":
        wanted = math.log(predicted)
        return abs(math.log(value) - wanted) / max(1.0, abs(wanted))
    return abs((1 - value) / (1 - predicted) - 1)


def announcements(draws: int) -> list[dict[str, object]]:
    """Measure what plans say beforehand of networks that they cannot hold."""
    print(
        f"\n{'activation':16}{'width':>6}{'depth':>6}  {'said of':12}{'predicted':>10}{'measured':>10}  off"
    )
    cases = [
        (name, f, *size, False) for name, f in UNHELD.items() for size in ((64, 100), (256, 50), (1024, 10))
    ]
    cases += [(name, f, *size, True) for name, f in ALIKE.items() for size in ((65, 50), (129, 50))]
    rows: list[dict[str, object]] = []
    for name, function, width, depth, bias in cases:
        model = network(lambda f=function: Function(f), width, depth, bias)  # type: ignore[misc]
        plan = goodinit.plan(model, "auto", example=torch.zeros(2, width))
        said = announced(plan)
        row: dict[str, object] = {"activation": name, "width": width, "depth": depth}
        if said is None:
            forward, gradient = factors(model, lambda seed, p=plan, m=model: p.apply_(m, seed=seed), width, 4)
            held = forward <= FORWARD and gradient <= GRADIENT
            row |= {"auto": (forward, gradient), "verdict": "held" if held else "MISSED"}
            print(f"{name:16}{width:6}{depth:6}  nothing: {forward:.3g}, {gradient:.3g}  {row['verdict']}")
        else:
            # 1 − correlation scatters by a factor of e² from draw to draw (Sigmoid), so that the median of
            # 512 draws is still uncertain by a tenth.
            more = 16 if said[0] == "correlation" else 1
            value = measured(said[0], model, plan, more * draws)
            off = deviation(*said, value)
            row |= {"said": said, "measured": value, "deviation": off}
            row["verdict"] = "said" if off <= WITHIN else "MISSED"
            figures = f"{said[0]:12}{said[1]:10.4g}{value:10.4g}  {off:.0%}"
            print(f"{name:16}{width:6}{depth:6}  {figures} {row['verdict']}", flush=True)
        rows.append(row)
    return rows


def show(pair: tuple[float, float]) -> str:
    """Both factors in a fixed width."""
    return " ".join(f"{value:9.3g}" if math.isfinite(value) else "        ∞" for value in pair)


def main() -> None:
    """Print the table and keep its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--announced", action="store_true", help="the second table alone, not saved")
    options = parser.parse_args()
    seeds = options.seeds
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if options.announced:
        announcements(options.draws)
        return
    print(f"{'activation':24}{'width':>6}{'depth':>6}   {'auto: fwd':>9} {'grad':>9}   ", end="")
    print(f"{'kaiming_n':>9} {'grad':>9}   {'default':>9} {'grad':>9}   verdict")
    rows = []
    for name, activation in ACTIVATIONS.items():
        for width in (256, 512):
            for depth in (20, 50):
                model = network(activation, width, depth)
                default = factors(model, lambda seed: None, width, 1)
                plan = goodinit.plan(model, "auto", example=torch.zeros(2, width))
                said = announced(plan)
                ours = factors(model, lambda seed, p=plan, m=model: p.apply_(m, seed=seed), width, seeds)
                he = goodinit.plan(model, "kaiming_normal")
                kaiming = factors(model, lambda seed, p=he, m=model: p.apply_(m, seed=seed), width, seeds)
                held = ours[0] <= FORWARD and ours[1] <= GRADIENT
                confirmed = said is not None and not held
                confirmed = (
                    confirmed and deviation(*said, measured(said[0], model, plan, options.draws)) <= WITHIN
                )
                verdict = "held" if held else "said" if confirmed else "MISSED"
                figures = "   ".join(show(pair) for pair in (ours, kaiming, default))
                print(f"{name:24}{width:6}{depth:6}   {figures}   {verdict}", flush=True)
                rows.append(
                    {
                        "activation": name,
                        "width": width,
                        "depth": depth,
                        "auto": ours,
                        "kaiming_normal": kaiming,
                        "torch_default": default,
                        "verdict": verdict,
                    }
                )
    counts = {word: sum(row["verdict"] == word for row in rows) for word in ("held", "said", "MISSED")}
    print(", ".join(f"{count} {word}" for word, count in counts.items()), f"of {len(rows)}")
    second = announcements(options.draws)
    verdicts = {word: sum(row["verdict"] == word for row in second) for word in ("held", "said", "MISSED")}
    print(", ".join(f"{count} {word}" for word, count in verdicts.items()), f"of {len(second)}")
    figures = {"seeds": seeds, "bounds": [FORWARD, GRADIENT], "rows": rows, "counts": counts}
    save("depth", figures | {"draws": options.draws, "announced": second, "announced_counts": verdicts})


if __name__ == "__main__":
    main()
