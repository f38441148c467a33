"""Everything that is measured of one output and of one gradient, as vectors that wait on their device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from goodinit.signals.probing.alike import cosine, gram, rank, varying_from
from goodinit.signals.probing.kinds import cuts_to_zero, saturated
from goodinit.signals.probing.moments import BLOCK, NONFINITE, in_range, merged, sums
from goodinit.signals.probing.sampling import KEPT, sample, spaced
from goodinit.signals.probing.sharded import whole

__all__ = ["Vectors", "fetch", "measure_gradient", "measure_output", "measuring", "merge"]

# Named float64 vectors. All but "sums" and "sample" are totals, so that batches are merged by adding.
Vectors: TypeAlias = dict[str, torch.Tensor]

# Batches whose samples are kept for a histogram.
_HISTOGRAM_BATCHES = 16


class measuring:  # noqa: N801  # used like torch.no_grad
    """Run a measurement outside of autograd, autocast and function modes (the recorder's own too).

    A probe enters this some hundred times; a stack of torch's own contexts takes ten times as long.
    """

    __slots__ = ("_autocast", "_functions", "_grad")

    def __init__(self, device: torch.device) -> None:
        self._autocast = (
            torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else None
        )
        self._functions = torch._C.DisableTorchFunction()

    def __enter__(self) -> None:
        self._grad = torch.is_grad_enabled()
        self._functions.__enter__()
        torch._C._set_grad_enabled(False)
        if self._autocast is not None:
            self._autocast.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._autocast is not None:
            self._autocast.__exit__(*error)
        torch._C._set_grad_enabled(self._grad)
        self._functions.__exit__(*error)


def measure_output(
    tensor: torch.Tensor,
    kind: str,
    module: nn.Module | None,
    axis: int,
    samples: int = 0,
    steps: int | None = None,
) -> Vectors:
    """Measure one output.

    Args:
        tensor: the output.
        kind: of the layer, which decides what is counted.
        module: the layer, where there is one.
        axis: the dimension of units.
        samples: the dimension of samples.
        steps: the dimension of time, where single steps are wanted.
    """
    tensor = whole(tensor.detach())
    found: Vectors = {"sums": sums(tensor), "sample": sample(tensor)}
    if not _plain(tensor):
        return found
    if cuts_to_zero(kind):
        found["on"] = _on(tensor, axis)
    if (flat := saturated(kind, module, tensor)) is not None:
        found["saturated"] = torch.stack(
            [flat.sum(dtype=torch.float64), flat.new_full((), flat.numel(), dtype=torch.float64)]
        )
    values = _squarable(tensor, found["sums"])
    if values is None:
        return found
    found["units"] = _by_place(values, axis)
    if steps is not None:
        found["steps"] = _by_place(values, steps)
    by_sample = values.movedim(samples, 0)
    tokens = values.ndim == 3 and axis == values.ndim - 1
    if values.ndim >= 2 and by_sample.shape[0] >= 2:
        rows = by_sample.reshape(by_sample.shape[0], -1)
        products = gram(rows)
        found["varying"] = varying_from(products, rows)
        found["correlation"] = cosine(products)
        if not tokens:
            found["rank"] = rank(values, products)
    if tokens:
        found["rank"] = rank(by_sample, None)
    return found


def measure_gradient(tensor: torch.Tensor, axis: int, steps: int | None = None) -> Vectors:
    """Measure the gradient that reached an output."""
    tensor = whole(tensor.detach())
    found: Vectors = {"sums": sums(tensor), "sample": sample(tensor)}
    values = _squarable(tensor, found["sums"]) if _plain(tensor) else None
    if values is not None:
        found["units"] = _by_place(values, axis)
        if steps is not None:
            found["steps"] = _by_place(values, steps)
    return found


def _plain(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.is_floating_point() and tensor.ndim > 0


def _squarable(tensor: torch.Tensor, found: torch.Tensor) -> torch.Tensor | None:
    """Return values whose squares are safe; None where some are not finite (as far as is known by now)."""
    if tensor.device.type != "cpu":
        return tensor.cpu() if tensor.device.type == "mps" else tensor
    if found[NONFINITE]:
        return None
    if not in_range(found):
        return tensor.double()
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _by_place(values: torch.Tensor, axis: int) -> torch.Tensor:
    """Return (elements each, Σx² of at most 64 evenly spaced places along a dimension)."""
    places = spaced(values.shape[axis], KEPT)
    if axis == values.ndim - 1:
        kept = values.reshape(-1, values.shape[axis])[:, places]
        # Where squares are not known to be safe in their own precision: elsewhere than on the CPU.
        kept = kept if kept.device.type == "cpu" else kept.double()
        parts = [part.square().sum(dim=0, dtype=torch.float64) for part in kept.split(BLOCK // KEPT)]
    else:
        outer, inner = values.shape[:axis].numel(), values.shape[axis + 1 :].numel()
        kept = values.reshape(outer, values.shape[axis], inner)[:, places]
        wide = None if kept.device.type == "cpu" else torch.float64
        parts = [torch.linalg.vector_norm(kept, dim=2, dtype=wide).double().square().sum(dim=0)]
    squares = torch.stack(parts).sum(dim=0)
    return torch.cat([squares.new_full((1,), values.numel() // values.shape[axis]), squares])


def _on(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Return (positions where any unit is on, then for each unit the positions where it is).

    Where every unit is zero the input was zero, which says nothing about single units.
    """
    on = tensor != 0
    others = [dim for dim in range(on.ndim) if dim != axis]
    each = on.sum(dim=others, dtype=torch.float64) if others else on.double()
    return torch.cat([on.any(dim=axis).sum(dtype=torch.float64).reshape(1), each])


def fetch(found: Sequence[Vectors]) -> None:
    """Bring all vectors to the CPU in one transfer for each device, in place."""
    waiting: dict[torch.device, list[tuple[Vectors, str]]] = {}
    for vectors in found:
        for key, vector in vectors.items():
            if vector.device.type != "cpu":
                waiting.setdefault(vector.device, []).append((vectors, key))
    for places in waiting.values():
        shapes = [vectors[key].shape for vectors, key in places]
        together = torch.cat([vectors[key].reshape(-1) for vectors, key in places]).cpu()
        parts = together.split([shape.numel() for shape in shapes])
        for (vectors, key), part, shape in zip(places, parts, shapes, strict=True):
            vectors[key] = part.view(shape)


def merge(into: Vectors, more: Vectors) -> None:
    """Add the vectors of one batch to those of the batches before, in place.

    Totals over single units or steps whose number differs from batch to batch keep
    the batches that agree with the first.
    """
    for key, vector in more.items():
        if key not in into:
            into[key] = vector
        elif key == "sums":
            into[key] = merged([into[key], vector])
        elif key == "sample":
            if into[key].numel() < _HISTOGRAM_BATCHES * max(vector.numel(), 1):
                into[key] = torch.cat([into[key], vector])
        elif into[key].shape == vector.shape:
            into[key] = into[key] + vector
