"""Optimizers as functions of one member's tensors, with the formulas of `torch.optim`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import torch

from goodinit.errors import ArgumentError, UnknownNameError, WrongTypeError, did_you_mean

__all__ = ["OPTIMIZERS", "Optimizer", "make_optimizer"]

OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class Optimizer:
    """What one step does to a parameter; plain numbers, so that it travels between processes.

    Attributes:
        name: one of `OPTIMIZERS`.
        spared: names of the parameters to which weight decay does not apply; the other fields mean what
            they mean in `torch.optim`.
    """

    name: str
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    spared: tuple[str, ...] = ()

    @property
    def slots(self) -> tuple[str, ...]:
        """Names, in `torch.optim`, of the tensors that it keeps for each parameter."""
        if self.name == "sgd":
            return ("momentum_buffer",) if self.momentum else ()
        return ("exp_avg", "exp_avg_sq")

    def scalars(self, lr: float, step: int) -> tuple[float, ...]:
        """Return the numbers that change from step to step, in float64, as `torch.optim` computes them.

        Args:
            lr: learning rate at this step.
            step: 0 for the first.
        """
        if self.name == "sgd":
            return (lr,)
        first, second = (1 - beta ** (step + 1) for beta in self.betas)
        return (lr / first, math.sqrt(second), 1 - lr * self.weight_decay)

    def update(
        self,
        name: str,
        parameter: torch.Tensor,
        gradient: torch.Tensor,
        slots: Sequence[torch.Tensor],
        scalars: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the parameter and its slots after one step; `scalars` are 0-dimensional tensors.

        Source: torch.optim's documented algorithms; Kingma and Ba (2015); Loshchilov and Hutter (2019).
        """
        decayed = self.weight_decay and name not in self.spared
        if decayed and self.name != "adamw":
            gradient = gradient + self.weight_decay * parameter
        if self.name == "sgd":
            kept = [self.momentum * slots[0] + gradient] if slots else []
            if kept:
                gradient = gradient + self.momentum * kept[0] if self.nesterov else kept[0]
            return parameter - scalars[0] * gradient, kept
        size, root, decay = scalars
        if decayed and self.name == "adamw":
            parameter = parameter * decay
        mean = slots[0] + (1 - self.betas[0]) * (gradient - slots[0])
        square = self.betas[1] * slots[1] + (1 - self.betas[1]) * (gradient * gradient)
        return parameter - size * (mean / (square.sqrt() / root + self.eps)), [mean, square]

    def of_torch(self, parameters: Mapping[str, torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """Return torch's own optimizer with the same settings, for parameters by name."""
        split: dict[float, list[torch.nn.Parameter]] = {}
        for name, parameter in parameters.items():
            split.setdefault(0.0 if name in self.spared else self.weight_decay, []).append(parameter)
        groups = [{"params": each, "weight_decay": decay} for decay, each in split.items()]
        if self.name == "sgd":
            return torch.optim.SGD(groups, lr, self.momentum, nesterov=self.nesterov)
        kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        return kind(groups, lr, self.betas, self.eps)

    def words(self) -> str:
        """Return the settings in words."""
        spared = f" (not of {len(self.spared)} parameters)" if self.spared else ""
        decay = f", weight_decay={self.weight_decay:g}{spared}" if self.weight_decay else ""
        if self.name == "sgd":
            speed = f"momentum={self.momentum:g}" if self.momentum else "no momentum"
            return f"sgd, {speed}{', nesterov' if self.nesterov else ''}{decay}"
        return f"{self.name}, betas=({self.betas[0]:g}, {self.betas[1]:g}), eps={self.eps:g}{decay}"


def make_optimizer(
    name: str,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Optimizer:
    """Return an optimizer whose numbers are in their domains.

    Raises:
        UnknownNameError: if there is no such optimizer.
        ArgumentError: if a number is outside its domain, or belongs to another optimizer.
        WrongTypeError: if it is no number.

    >>> make_optimizer("sgd", momentum=0.9).words()
    'sgd, momentum=0.9'
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError(
            f"optimizer={name!r} is none of {', '.join(OPTIMIZERS)}{did_you_mean(str(name), OPTIMIZERS)}"
        )
    numbers = {"momentum": momentum, "weight_decay": weight_decay, "eps": eps}
    try:
        numbers |= dict(zip(("betas[0]", "betas[1]"), betas, strict=True))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"betas must be two numbers in [0, 1), found {betas!r}") from error
    odd = next((name for name, value in numbers.items() if not isinstance(value, Real)), None)
    if odd is not None:
        raise WrongTypeError(f"{odd} must be a number, found {type(numbers[odd]).__name__}")
    if not 0 <= momentum < 1:
        raise ArgumentError(f"momentum must be in [0, 1), found {momentum}")
    if name != "sgd" and (momentum or nesterov):
        raise ArgumentError(f"momentum and nesterov belong to sgd, found with {name}: use betas")
    if nesterov and not momentum:
        raise ArgumentError("nesterov needs a momentum above 0, for example momentum=0.9")
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ArgumentError(f"weight_decay must be finite and not negative, found {weight_decay}")
    if not all(0 <= beta < 1 for beta in betas):
        raise ArgumentError(f"betas must be two numbers in [0, 1), found {betas}")
    if not (eps > 0 and math.isfinite(eps)):
        raise ArgumentError(f"eps must be above 0, found {eps}")
    return Optimizer(name, momentum, nesterov, weight_decay, (float(betas[0]), float(betas[1])), eps)
