"""How well `auto` holds signals and gradients in plain deep networks, for every activation of torch.nn.

For each activation, width and depth a plain MLP (Linear, activation, …) is planned by
`auto` from its traced graph and filled under several seeds. Measured on standard-normal
inputs, as means over the seeds:

- forward: largest over smallest second moment of the pre-activations across depth (bound 3);
- gradient: the same of the gradients that reach them from a random linear functional (bound 10).

Beside them stand the factors under the recipe `kaiming_normal` and under torch's default.
`said` marks networks of which the plan itself says beforehand that no scale can hold them.

    python benchmarks/depth.py [--seeds 4]
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


def network(activation: Callable[[], nn.Module], width: int, depth: int) -> nn.Sequential:
    """A plain MLP of `depth` hidden layers and a linear output; random activations in eval mode."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), activation()]
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


def show(pair: tuple[float, float]) -> str:
    """Both factors in a fixed width."""
    return " ".join(f"{value:9.3g}" if math.isfinite(value) else "        ∞" for value in pair)


def main() -> None:
    """Print the table and keep its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"{'activation':24}{'width':>6}{'depth':>6}   {'auto: fwd':>9} {'grad':>9}   ", end="")
    print(f"{'kaiming_n':>9} {'grad':>9}   {'default':>9} {'grad':>9}   verdict")
    rows = []
    for name, activation in ACTIVATIONS.items():
        for width in (256, 512):
            for depth in (20, 50):
                model = network(activation, width, depth)
                default = factors(model, lambda seed: None, width, 1)
                plan = goodinit.plan(model, "auto", example=torch.zeros(2, width))
                said = any("no scale holds" in row.why for row in plan)
                ours = factors(model, lambda seed, p=plan, m=model: p.apply_(m, seed=seed), width, seeds)
                he = goodinit.plan(model, "kaiming_normal")
                kaiming = factors(model, lambda seed, p=he, m=model: p.apply_(m, seed=seed), width, seeds)
                held = ours[0] <= FORWARD and ours[1] <= GRADIENT
                verdict = "held" if held else "said" if said else "MISSED"
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
    save("depth", {"seeds": seeds, "bounds": [FORWARD, GRADIENT], "rows": rows, "counts": counts})


if __name__ == "__main__":
    main()
