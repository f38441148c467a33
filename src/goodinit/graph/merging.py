"""Equal uses of one parameter, counted together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from goodinit.graph.uses import WeightUse

__all__ = ["merged"]


def merged(uses: Sequence[WeightUse]) -> list[WeightUse]:
    """Return uses in their order, those that differ only in when they happen as one with their calls."""
    kept: dict[object, WeightUse] = {}
    for use in uses:
        key = dataclasses.astuple(
            dataclasses.replace(
                use,
                source=dataclasses.replace(
                    use.source, weights=(), stream=None, activation=None, norm=None, moment=None
                ),
                sinks=(),
                held=None,
                inside=1.0,
                making=None,
                index=0,
                calls=1,
                residual=None,
                norm_before=None,
                norm_after=None,
            )
        )
        functions = (use.source.activation, tuple((sink.kind, sink.activation) for sink in use.sinks[:1]))
        full = (key, functions, use.residual is not None)
        if full in kept:
            kept[full] = dataclasses.replace(kept[full], calls=kept[full].calls + 1)
        else:
            kept[full] = use
    return list(kept.values())
