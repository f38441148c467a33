"""What only the values themselves show: equal units, repeated shards, padding rows, forget biases, ties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from goodinit.graph.formulas import structure
from goodinit.records import ParameterSignal
from goodinit.signals.probing.kinds import is_embedding
from goodinit.signals.probing.recorder import canonical
from goodinit.signals.probing.sharded import equal_shards, is_sharded, whole

__all__ = ["equal_rows", "inspected", "repeats"]

# Dot products of equal rows differ by rounding only; float32 over 1e5 elements loses some 1e-5.
_NEAR = 1e-4
# A matrix this empty is a formula (an identity, a routing table), not a draw.
_SPARSE = 0.5
# Layers whose units are the first dimension of their weight, and those where they are not.
_ROWS = ("Linear", "Bilinear", "Conv1d", "Conv2d", "Conv3d", "RNN", "LSTM", "GRU", "MultiheadAttention")
_BLOCK = 1 << 22
# Fewer elements than this may be equal by chance: four draws of float32 agree with 2⁻⁹⁶, eight of bfloat16
# with 2⁻⁶⁴.
_ENOUGH = {4: 4, 8: 4, 2: 8}


def inspected(model: nn.Module, parameters: Iterable[ParameterSignal]) -> tuple[ParameterSignal, ...]:
    """Return the parameters' records with what their patterns show filled in.

    Args:
        model: that the records were measured of.
        parameters: as `probe` returns them.
    """
    found: dict[str, tuple[nn.Module, str, Tensor]] = {}
    others: dict[int, list[str]] = {}
    for prefix, module in model.named_modules():
        for leaf, tensor in module._parameters.items():
            if tensor is not None:
                name = canonical(f"{prefix}.{leaf}" if prefix else leaf)
                found.setdefault(name, (module, leaf, tensor))
                others.setdefault(id(tensor), []).append(name)
    with torch.no_grad():
        return tuple(
            replace(
                signal,
                **_seen(*found[signal.name], signal),
                tied=tuple(others[id(found[signal.name][2])][1:]),
            )
            if signal.name in found
            else signal
            for signal in parameters
        )


def _seen(module: nn.Module, leaf: str, tensor: Tensor, signal: ParameterSignal) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    values = whole(tensor)
    padding = getattr(module, "padding_idx", None)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and leaf == "weight" and padding is not None:
        seen["padding"] = float(values[padding].double().square().mean()) if tensor.numel() else 0.0
    hidden = getattr(module, "hidden_size", None)
    if isinstance(module, nn.LSTM | nn.LSTMCell) and leaf.startswith("bias") and isinstance(hidden, int):
        # Gates are packed as input, forget, cell, output.
        seen["forget"] = float(values[hidden : 2 * hidden].double().mean())
    drawn = tensor.ndim >= 2 and not signal.value.nonfinite and signal.value.std > 0
    if not drawn or not tensor.is_floating_point() or signal.zeros >= _SPARSE:
        return seen
    seen["formula"] = structure(values)
    seen["repeats"] = equal_shards(tensor) if is_sharded(tensor) else 1
    if seen["repeats"] == 1:
        units = _unit_dimension(module, leaf, values)
        seen["repeats"] = repeats(values, range(min(values.ndim, 2) if units is not None else values.ndim))
        if units is not None and seen["repeats"] == 1 and not is_embedding(signal.kind):
            seen["equal_units"] = _equal_units(module, values, units)
    return seen


def _unit_dimension(module: nn.Module, leaf: str, tensor: Tensor) -> int | None:
    """Return which dimension of a weight counts its units; None where nobody can tell."""
    kind = type(module).__name__.removeprefix("Parametrized")
    if kind == "Conv1D":
        return tensor.ndim - 1
    if kind.startswith("ConvTranspose"):
        return 1
    return 0 if kind.startswith(_ROWS) or is_embedding(kind) else None


def _equal_units(module: nn.Module, tensor: Tensor, dim: int) -> int:
    """Count units that equal another one of the same group."""
    groups = getattr(module, "groups", 1)
    # A depthwise kernel of a transposed convolution has its units in both dimensions.
    if dim == 1 and groups > 1:
        return 0
    return sum(equal_rows(part) for part in tensor.movedim(dim, 0).chunk(groups))


def equal_rows(rows: Tensor) -> int:
    """Return how many rows (all zeros aside) are equal to another row, element by element.

    >>> rows = torch.eye(4)
    >>> rows[3] = rows[1]
    >>> equal_rows(rows)
    2
    """
    flat = rows.flatten(1)
    if len(flat) < 2 or flat.shape[1] < _ENOUGH.get(flat.element_size(), 64):
        return 0
    marks = _marks(flat)
    order = marks.argsort()
    equal = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    near = (marks[order].diff() <= _NEAR * marks[order][1:].abs()).nonzero().flatten()
    for block in near.split(max(1, _BLOCK // max(flat.shape[1], 1))):
        left, right = order[block], order[block + 1]
        same = (flat[left] == flat[right]).all(dim=1) & (flat[left] != 0).any(dim=1)
        equal[left[same]] = True
        equal[right[same]] = True
    return int(equal.sum())


def repeats(tensor: Tensor, dims: Iterable[int] = (0, 1)) -> int:
    """Return how many equal consecutive chunks a tensor consists of, along one of the dimensions.

    Chunks must themselves hold different rows, so a constant is no repetition.

    >>> repeats(torch.arange(6.0).reshape(2, 3).repeat(1, 4))
    4
    """
    return max((_periods(tensor.movedim(dim, 0)) for dim in dims), default=1)


def _periods(rows: Tensor) -> int:
    length = len(rows)
    if length < 4 or rows.numel() < 4 * _ENOUGH.get(rows.element_size(), 64):
        return 1
    marks = _marks(rows.flatten(1))
    for number in _divisors(length):
        first = marks[: length // number]
        if bool((first.diff().abs() > _NEAR * first.abs().max()).sum() == 0):
            continue
        near = (marks.view(number, -1) - first).abs() <= _NEAR * first.abs().max()
        if bool(near.all()) and all(torch.equal(part, rows[: len(first)]) for part in rows.chunk(number)):
            return number
    return 1


def _divisors(length: int) -> Iterator[int]:
    """Yield the numbers of chunks of two rows or more, most chunks first."""
    for size in range(2, length // 2 + 1):
        if length % size == 0:
            yield length // size


def _marks(flat: Tensor) -> Tensor:
    """Return one number for each row: its product with a random vector, almost equal for equal rows."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.rand(flat.shape[1], generator=generator, dtype=torch.float32) + 0.5
    vector = vector.to(flat.device)
    parts = flat.split(max(1, _BLOCK // max(flat.shape[1], 1)))
    return torch.cat([(part.float() @ vector).double() for part in parts])
