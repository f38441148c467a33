"""Carrying out a plan on a model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from goodinit.errors import ArgumentError, GoodinitError, PlanMismatchError, TensorError
from goodinit.graph import Place, places
from goodinit.initializers import Initializer, Orthogonal
from goodinit.initializers.base import Progress
from goodinit.initializers.sharding import is_distributed
from goodinit.plans.buffers import buffer_values
from goodinit.plans.pieces import pieces
from goodinit.plans.row import Row
from goodinit.rng import Region, check_fillable, derive_key
from goodinit.rng.memory import check_writable

__all__ = ["apply_", "match"]


def match(rows: Sequence[Row], shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Raise `PlanMismatchError` unless rows and parameters are the same, name by name and shape by shape."""
    planned = {row.name: row for row in rows}
    missing = [name for name in planned if name not in shapes]
    extra = [name for name in shapes if name not in planned]
    wrong = [
        f"{name}: {planned[name].shape} in the plan, {shape} in the {what}"
        for name, shape in shapes.items()
        if name in planned and planned[name].shape != shape
    ]
    if not (missing or extra or wrong):
        return
    lines = [f"the plan does not fit the {what}:"]
    for title, names in (
        (f"in the plan, not in the {what}", missing),
        (f"in the {what}, not in the plan", extra),
        ("other shapes", wrong),
    ):
        if names:
            more = f" … and {len(names) - 8} more" if len(names) > 8 else ""
            lines.append(f"  {title}: {', '.join(names[:8])}{more}")
    lines.append("make the plan anew from this model: goodinit.plan(model, recipe)")
    raise PlanMismatchError("\n".join(lines))


def apply_(
    rows: Sequence[Row],
    model: nn.Module,
    *,
    seed: int,
    engine: str,
    device: torch.device | str | None,
    progress: Progress | None,
) -> nn.Module:
    """Fill a model by rows. See `Plan.apply_`."""
    if engine not in ("goodinit", "torch"):
        raise ArgumentError(f"engine must be 'goodinit' or 'torch', found {engine!r}")
    found = {place.name: place for place in places(model)}
    match(rows, {name: tuple(place.parameter.shape) for name, place in found.items()}, "model")
    keys = {row.name: derive_key(seed, row.name) for row in rows}
    tried: set[tuple[Initializer, torch.dtype]] = set()
    for row in rows:
        _check(row, found[row.name], engine, tried)
    if any(place.parameter.is_meta for place in found.values()):
        found = _made_real(model, found, torch.device(device or "cpu"), seed)
    for row in rows:
        parameter = found[row.name].parameter
        with torch.no_grad():
            if engine == "torch":
                row.initializer.fill_by_torch_(parameter)
                if progress:
                    progress(parameter.numel())
            else:
                row.initializer.fill_(parameter, keys[row.name], progress=progress)
    return model


def _check(row: Row, place: Place, engine: str, tried: set[tuple[Initializer, torch.dtype]]) -> None:
    """Raise for a row that cannot be carried out; `tried` keeps what has passed."""
    parameter = place.parameter
    if not row.initializer.writes:
        if parameter.is_meta:
            raise TensorError(
                f"{row.name} is to be kept, but on the meta device it has no values: build the model with "
                f'real memory, or override it, for example overrides={{"{row.name}": 0.0}}'
            )
        return
    if parameter.is_inference() and not torch.is_inference_mode_enabled():
        raise TensorError(
            f"{row.name} was made under torch.inference_mode() and can be written only there: "
            "apply the plan under it too, or build the model outside"
        )
    try:
        local = parameter.to_local() if is_distributed(parameter) else parameter  # type: ignore[attr-defined]
        check_fillable(local)
        check_writable(local)
        for initializer, box, _ in pieces(row.initializer, Region.whole(row.shape)):
            if box.numel and (initializer, parameter.dtype) not in tried:
                _try(initializer, box, parameter.dtype, engine)
                tried.add((initializer, parameter.dtype))
    except GoodinitError as error:
        raise type(error)(f"{row.name}: {error}") from error


def _try(initializer: Initializer, box: Region, dtype: torch.dtype, engine: str) -> None:
    """Fill one element elsewhere, to learn that the numbers fit the dtype before the model is touched."""
    one = Region(box.shape, box.start, (1,) * len(box.shape))
    sample = torch.empty(one.size, dtype=dtype, device="cpu")
    if engine == "goodinit":
        if initializer.elementwise:
            initializer.fill_(sample, 0, part=one, block=box)
        return
    own, none = (inspect.getattr_static(kind, "fill_by_torch_") for kind in (type(initializer), Initializer))
    if own is none:
        raise ArgumentError(f"torch.nn.init has nothing like {initializer!r}; use engine='goodinit'")
    if isinstance(initializer, Orthogonal) and dtype not in (torch.float32, torch.float64):
        raise TensorError(f"torch.nn.init.orthogonal_ has no {dtype}; use engine='goodinit'")
    if initializer.elementwise:
        try:
            with torch.random.fork_rng(devices=[]):
                initializer.fill_by_torch_(sample)
        except (RuntimeError, NotImplementedError) as error:
            raise TensorError(f"torch.nn.init: {error}; use engine='goodinit'") from error


def _made_real(
    model: nn.Module, found: Mapping[str, Place], device: torch.device, seed: int
) -> dict[str, Place]:
    """Give every meta parameter memory, ties kept, and every meta buffer its start value.

    Raises:
        TensorError: before anything is changed, if a meta buffer has no known start value.
    """
    starts = buffer_values(model, seed)
    for place in found.values():
        if place.parameter.is_meta:
            empty = torch.empty_like(place.parameter, device=device)
            real = nn.Parameter(empty, requires_grad=place.parameter.requires_grad)
            real.__dict__.update(place.parameter.__dict__)
            for use in place.uses:
                use.module._parameters[use.local] = real
    for module, local, value in starts:
        module._buffers[local] = value.to(device)
    return {place.name: place for place in places(model)}
