"""Weights whose product is used as one weight, such as a low-rank update: each is a layer of its own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from goodinit.graph.blocks import parameter_dims
from goodinit.graph.flow import Flow, Part, Site
from goodinit.graph.layout import Layout
from goodinit.graph.uses import Sink, Source, WeightUse

__all__ = ["as_factor"]


def as_factor(flow: Flow, use: WeightUse, site: Site, part: Part) -> WeightUse:
    """Return the use of one of several weights whose product is used as one, as if each were a layer.

    Args:
        flow: the coarse graph.
        use: the use of the product.
        site: the operation.
        part: the weight; its inner dimensions lie between it and its neighbours.
    """
    assert part.layout is not None
    own = parameter_dims(part.layout, use.shape, site.contracted)
    beside = tuple(name for name in _factors(flow, site) if name != use.name)
    if own:
        use = dataclasses.replace(use, sinks=(Sink("weight", beside),), residual=None, head=False)
    else:
        use = dataclasses.replace(use, source=Source("weight", beside), norm_before=None)
        if len(part.inner) > 1:
            use = dataclasses.replace(use, sinks=(Sink("weight", beside),), residual=None, head=False)
    for towards, factors in part.inner:
        between = parameter_dims(Layout(0, (factors,)), use.shape, (0,))
        size = float(math.prod(count for count, step in factors if step))
        # The weight nearest the input meets the next one on its output side.
        if own or (len(part.inner) > 1 and towards in site.output):
            use = dataclasses.replace(use, output=between, fan_out=size)
        else:
            use = dataclasses.replace(use, contracted=between, fan_in=size)
    return dataclasses.replace(use, block=None)


def _factors(flow: Flow, site: Site) -> tuple[str, ...]:
    """The parameters whose product is an operation's weight, the one nearest the input first."""
    found = sorted((part for part in site.parts if part.inner and not part.role), key=lambda p: -p.leaf)
    near = [p for p in found if p.layout is not None and _along(p.layout, site.contracted)]
    return tuple(flow.tape.values[part.leaf].name for part in (*near, *(p for p in found if p not in near)))


def _along(layout: Layout, dims: Iterable[int]) -> bool:
    return any(step for dim in dims for _, step in layout.dims[dim])
