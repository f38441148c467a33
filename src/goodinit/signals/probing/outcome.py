"""What comes out of the whole model: broken values, and the loss that no logits at all would have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from goodinit.graph.nested import floating
from goodinit.signals.probing.heads import Head, heads
from goodinit.signals.probing.moments import any_square_sum, flat_real
from goodinit.signals.probing.targets import Against, against, of_differences, of_one_number

__all__ = ["Outcome"]


@dataclass
class Outcome:
    """What several batches showed of the model's own output.

    Attributes:
        broken: elements that are NaN or plus infinity. Minus infinity is what masks put out.
        baselines: for each batch the loss of outputs that are all zero, ln C for C classes.
        classes: number of classes, where the target holds class numbers.
        returned: sum of squares of the gradient that each output received, by its path; those that did.
        against: the first batch's output held against its targets.
        heads: each of several outputs of the first batch held against usual numbers.
    """

    broken: int = 0
    baselines: list[float] = field(default_factory=list)
    classes: int | None = None
    returned: dict[str, float] = field(default_factory=dict)
    against: Against | None = None
    heads: tuple[Head, ...] = ()
    _hooks: list[RemovableHandle] = field(default_factory=list)
    _squares: list[tuple[str, torch.Tensor]] = field(default_factory=list)

    @property
    def baseline(self) -> float | None:
        """The mean baseline; None where there is none."""
        return sum(self.baselines) / len(self.baselines) if self.baselines else None

    def absorb(
        self,
        output: Any,
        loss: Callable[..., Any] | None,
        target: Any,
        has_target: bool,
        inputs: Any,
        value: float | None,
    ) -> None:
        """Look at one batch's output.

        Args:
            output: of the model.
            loss: as for `probe`.
            target: what the loss takes as well, if `has_target`.
            has_target: whether there is one.
            inputs: of the model, which may hold labels.
            value: what the loss gave.
        """
        with torch.no_grad():
            found = [tensor.detach() for _, tensor in floating(output) if tensor.numel()]
            for tensor in found:
                values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
                largest = float(values.max())  # of NaN among others, NaN
                if math.isnan(largest) or largest == math.inf:
                    self.broken += int((values.isnan() | (values == math.inf)).sum())
            if loss is not None and has_target:
                nothing = of_one_number(output, loss, target)
                if nothing is not None and value is not None:
                    if of_differences(output, loss, target, nothing):
                        self._baseline(output, target, nothing)
                    self.against = self.against or against(output, loss, target, value, nothing)
                self.heads = self.heads or heads(output, loss, target, value)
            elif loss is None:
                self._own(output, inputs)

    def listen(self, output: Any) -> None:
        """Ask for the gradient of one batch's output."""
        for name, tensor in floating(output):
            if tensor.requires_grad:
                self._hooks.append(tensor.register_hook(partial(self._receive, name)))

    def settle(self) -> None:
        """Add up what came back, and take the hooks off."""
        for hook in self._hooks:
            hook.remove()
        for name, squares in self._squares:
            self.returned[name] = self.returned.get(name, 0.0) + float(squares)
        self._hooks, self._squares = [], []

    def _receive(self, name: str, gradient: torch.Tensor | None) -> None:
        if gradient is not None:
            self._squares.append((name, any_square_sum(flat_real(gradient))))

    def _baseline(self, output: torch.Tensor, target: Any, value: float) -> None:
        if not _class_numbers(target) or output.ndim < 2:
            return
        near = [n for n in (output.shape[1], output.shape[-1]) if n > 1 and abs(math.log(n) - value) < 1e-3]
        first = target.ndim == output.ndim - 1 and target.shape[1:] == output.shape[2:]
        classes = near[0] if near else output.shape[1 if first else -1]
        if math.isfinite(value) and classes > 1:
            self.baselines.append(value)
            self.classes = classes

    def _own(self, output: Any, inputs: Any) -> None:
        """Take the logits of a model that returned its own loss of labels, where it can be theirs."""
        parts = output if isinstance(output, Mapping) else vars(output) if hasattr(output, "__dict__") else {}
        logits, labels = parts.get("logits"), inputs.get("labels") if isinstance(inputs, Mapping) else None
        loss = parts.get("loss")
        if not isinstance(loss, torch.Tensor) or not isinstance(logits, torch.Tensor) or loss.numel() != 1:
            return
        if not _class_numbers(labels) or not logits.numel() or not logits.ndim or logits.shape[-1] < 2:
            return
        baseline = math.log(logits.shape[-1])
        # No item costs more than ln C + max − min of its logits. More is a sum, or another loss such as CTC.
        reach = float((logits.amax(-1) - logits.amin(-1)).max())
        if not float(loss) > baseline + reach + 1e-3 * baseline:
            self.baselines.append(baseline)
            self.classes = logits.shape[-1]


def _class_numbers(target: Any) -> bool:
    return isinstance(target, torch.Tensor) and target.dtype in (torch.int64, torch.int32, torch.uint8)
