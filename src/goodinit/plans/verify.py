"""Do these weights follow this plan?

Constants are compared exactly, structures to rounding, random rows by statistical
tests whose false-alarm rate over the whole plan is at most `FALSE_ALARM_RATE`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from goodinit.errors import WrongTypeError
from goodinit.graph import places
from goodinit.graph.places import canonical_keys
from goodinit.initializers.sharding import is_distributed
from goodinit.plans.apply import match
from goodinit.plans.goodness import follows
from goodinit.plans.pieces import pieces
from goodinit.plans.row import Row
from goodinit.records import RowCheck, Verification
from goodinit.rng import Region, derive_key

__all__ = ["FALSE_ALARM_RATE", "verify"]

#: Probability that weights which do follow a plan are reported as not following it, all rows together.
FALSE_ALARM_RATE = 1e-6


def verify(
    rows: Sequence[Row], model: nn.Module | Mapping[str, torch.Tensor], *, seed: int | None
) -> Verification:
    """Check weights against rows. See `Plan.verify`."""
    tensors = _tensors(rows, model)
    match(rows, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, "weights")
    random_rows = [row for row in rows if row.initializer.writes and not row.initializer.deterministic]
    # The copy test is exact; each random row and each of its blocks shares the rate equally.
    tests = sum(len(pieces(row.initializer, Region.whole(row.shape))) for row in random_rows)
    level = FALSE_ALARM_RATE / max(tests, 1)
    copies = {} if seed is not None else _copies(random_rows, tensors)
    checks = []
    with torch.no_grad():
        for row in rows:
            tensor = tensors[row.name]
            if tensor.is_meta:
                checks.append(
                    RowCheck(row.name, False, "values", None, "on the meta device: it has no values")
                )
            elif row.name in copies:
                detail = f"every element equals {copies[row.name]}'s: one is a copy of the other"
                checks.append(RowCheck(row.name, False, "independence", None, detail))
            elif seed is not None and row.initializer.writes:
                checks.append(_same_bits(row, tensor, seed))
            else:
                checks.append(_check(row, tensor, level))
    return Verification(tuple(checks), FALSE_ALARM_RATE)


def _tensors(rows: Sequence[Row], model: nn.Module | Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if isinstance(model, nn.Module):
        return {place.name: _gathered(place.parameter.detach()) for place in places(model)}
    if isinstance(model, Mapping):
        # A state dict holds buffers too, and tied weights under each of their names.
        keys = canonical_keys(model)
        held = {row.name: next((n for n in (row.name, *row.aliases) if n in keys), None) for row in rows}
        return {row: _gathered(model[keys[name]].detach()) for row, name in held.items() if name is not None}
    raise WrongTypeError(f"verify: expected a module or a state dict, found {type(model).__name__}")


def _gathered(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if is_distributed(tensor) else tensor  # type: ignore[attr-defined]


def _copies(rows: Sequence[Row], tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Return {name: name of an earlier row with the same values}. Independent draws never coincide."""
    first: dict[tuple[object, ...], str] = {}
    copies: dict[str, str] = {}
    for row in rows:
        tensor = tensors[row.name]
        # With few values a coincidence is possible in low precision.
        if tensor.is_meta or tensor.numel() < 16 or row.mean is None or row.std == 0.0:
            continue
        flat = tensor.reshape(-1)  # compared as stored
        signature = (tensor.shape, tuple(flat[:: max(1, flat.numel() // 64)][:64].tolist()))
        other = first.setdefault(signature, row.name)
        if other != row.name and torch.equal(tensors[other], tensor):
            copies[row.name] = other
    return copies


def _same_bits(row: Row, tensor: torch.Tensor, seed: int) -> RowCheck:
    expected = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    row.initializer.fill_(expected, derive_key(seed, row.name))
    here = tensor.cpu()
    if row.initializer.elementwise or row.initializer.deterministic:
        different = int((expected.double() != here.double()).sum())
        detail = (
            f"{different} of {tensor.numel()} elements differ from seed {seed}" if different else "same bits"
        )
        return RowCheck(row.name, not different, f"exact, seed {seed}", None, detail)
    tolerance = _rounding(tensor.dtype) * max(abs(bound) for bound in _finite_bounds(row, expected))
    gap = float((expected.double() - here.double()).abs().max()) if tensor.numel() else 0.0
    passed = gap <= tolerance
    return RowCheck(
        row.name,
        passed,
        f"seed {seed}, to rounding",
        None,
        f"largest difference {gap:.2g}, allowed {tolerance:.2g}",
    )


def _finite_bounds(row: Row, expected: torch.Tensor) -> tuple[float, float]:
    low, high = row.initializer.bounds
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    largest = float(expected.double().abs().max()) if expected.numel() else 0.0
    return -largest, largest


def _rounding(dtype: torch.dtype) -> float:
    # A factorization loses a few hundred ulps at most for matrices of thousands of rows.
    return 512 * float(torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps) + float(
        torch.finfo(dtype).eps
    )


def _check(row: Row, tensor: torch.Tensor, level: float) -> RowCheck:
    if not row.initializer.writes:
        finite = bool(torch.isfinite(tensor).all()) if tensor.is_floating_point() else True
        return RowCheck(
            row.name,
            finite,
            "kept",
            None,
            "kept, not compared" if finite else "kept, but holds NaN or infinity",
        )
    whole = Region.whole(row.shape)
    found = pieces(row.initializer, whole)
    stored = tensor.dtype
    if tensor.element_size() == 1:
        tensor = tensor.float()  # torch computes nothing in 8-bit storage
    worst: RowCheck | None = None
    for initializer, box, zeroed in found:
        outcome = follows(initializer, tensor[box.slices_in(whole)], level, stored, zeroed)
        where = "" if len(found) == 1 else f"block {box.slices_in(whole)[0]}: "
        check = RowCheck(row.name, outcome.passed, outcome.test, outcome.p_value, where + outcome.detail)
        if not check.passed:
            return check
        if worst is None or (check.p_value or 1.0) < (worst.p_value or 1.0):
            worst = check
    assert worst is not None
    return worst
