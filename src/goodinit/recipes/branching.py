"""What the branches of a residual stream add: together as much as the stream began with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from goodinit.graph import Residual, Sink
from goodinit.recipes.keeping import kept_start
from goodinit.recipes.tables import constant, tied

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["beginning", "branch"]

# So near to 1 a stream may begin at anything.
_ALIKE = 2.0


def branch(travel: Travel, residual: Residual, sink: Sink) -> tuple[float, str]:
    """Return (second moment, reason) for a branch: all together add what the stream began with."""
    share, count = beginning(travel, residual), residual.of
    begins = "" if math.isclose(share, 1.0, rel_tol=1e-6) else f" that begins at {share:.3g}"
    words = f"one of {count} branches of a residual stream{begins}, so each adds 1/{count}"
    if count == 1:
        words = f"the one branch of its residual stream{begins}"
    if begins and count > 1:
        words += " of that"
    fades = residual.share > 1 / count
    if fades:
        share *= residual.share * count
        words = f"a branch of a residual stream{begins} that a constant shrinks, so it makes up for that"
    if residual.terms > 1:
        words += f", in {residual.terms} parts"
    if not math.isclose(residual.weighed, 1.0, rel_tol=1e-6):
        share /= residual.weighed
        words += f", of which gates and sums leave {residual.weighed:.3g}"
    if sink.activation is not None and sink.activation.linear:  # such as the half steps of a Conformer
        factor = travel.passed(sink.activation, 1.0)
        if factor > 0 and not math.isclose(factor, 1.0, rel_tol=1e-6):
            share /= factor
            words += f", after a factor of {math.sqrt(factor):.3g}"
            if share > count * residual.terms**2 and not fades:
                # The author made the branch small already, as in nets with residuals scaled by 0.1.
                small = f"a factor of {math.sqrt(factor):.3g} already keeps small"
                return 1.0, f"unit scale, for a branch of a residual stream that {small}"
    return share / (count * residual.terms), words


def beginning(travel: Travel, residual: Residual) -> float:
    """Return the second moment with which a stream begins: 1, unless the output layer's table begins it.

    That table has second moment 1/(m·d), see `goodinit.recipes.lookups`, and so has each added to it.
    The largest of several results may be much more than 1, too.
    """
    start = residual.start
    moment = kept_start(travel, start)
    if moment > 0:
        return moment
    pooled = 0.0 if residual.begins is None else travel.asked(residual.begins)
    if pooled > 0 and not 1 / _ALIKE <= pooled <= _ALIKE:
        return pooled
    for name in start:
        # A table that is only read through a normalization, as BART's, starts the stream at 1.
        direct = [sink for use in travel.graph[name] for sink in use.sinks if sink.kind == "residual"]
        head = next((use for use in travel.graph[name] if use.contracts and use.head), None)
        if head is not None and direct:
            moment = max(moment, tied(travel, head) * constant(travel, direct[0]))
        elif any(use.contracts for use in travel.graph[name]):
            return 1.0
    tables = sum(any(use.op == "embedding" for use in travel.graph[name]) for name in start)
    return moment * max(tables, 1) if moment > 0 else 1.0
