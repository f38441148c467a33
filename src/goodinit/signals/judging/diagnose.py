"""All judgements of a probe, gravest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from goodinit.records import Finding, LayerSignal, ParameterSignal
from goodinit.signals.judging.biased import judge_biased
from goodinit.signals.judging.broken import judge_broken
from goodinit.signals.judging.causes import judge_causes
from goodinit.signals.judging.collinear import judge_collinear
from goodinit.signals.judging.copied import judge_copies
from goodinit.signals.judging.drowned import judge_drowned
from goodinit.signals.judging.edges import judge_edges
from goodinit.signals.judging.endings import judge_endings
from goodinit.signals.judging.faint import judge_faint
from goodinit.signals.judging.heads import judge_heads
from goodinit.signals.judging.idle import judge_idle
from goodinit.signals.judging.information import judge_information
from goodinit.signals.judging.loops import judge_loops
from goodinit.signals.judging.mixing import judge_mixing
from goodinit.signals.judging.precision import judge_precision
from goodinit.signals.judging.recurring import judge_recurrence
from goodinit.signals.judging.slope import judge_slope
from goodinit.signals.judging.targets import judge_targets
from goodinit.signals.judging.travel import judge_travel, points
from goodinit.signals.judging.twins import judge_twins
from goodinit.signals.judging.units import judge_units
from goodinit.signals.judging.unseen import judge_unseen
from goodinit.signals.judging.untouched import with_untouched_norms
from goodinit.signals.judging.values import judge_values, zero_weights
from goodinit.signals.probing.probe import Probe

__all__ = ["diagnose", "gravest_first", "remarks"]

_GRAVITY = ("error", "warning", "note")


def diagnose(probe: Probe) -> tuple[Finding, ...]:
    """Judge what a probe measured: each finding is an effect beyond its noise floor.

    Args:
        probe: from `goodinit.signals.probe`.

    Returns:
        Findings, errors before warnings before notes; none but notes for a healthy model. The codes are
        described in the documentation, one section each.

    >>> import torch
    >>> from goodinit.signals.probing.probe import probe
    >>> model = torch.nn.Linear(4, 4)
    >>> torch.nn.init.constant_(model.weight, float("nan")).shape
    torch.Size([4, 4])
    >>> [finding.code for finding in diagnose(probe(model))]
    ['GI101', 'GI107']
    """
    broken = judge_broken(probe)
    values = judge_values(probe)
    travel = (*(judge_drowned(probe) or judge_information(probe)), *judge_travel(probe))
    loops = judge_loops(probe, travel)
    # Where a loop is the cause, it is named alone.
    looped = {finding.code for finding in loops}
    travel = (*loops, *(finding for finding in travel if finding.code not in looped))
    found = (
        *values,
        *judge_twins(probe, values),
        *broken,
        *travel,
        *judge_edges(probe, travel),
        *judge_biased(probe, travel),
        *judge_causes(probe, travel),
        *judge_units(probe),
        *judge_mixing(probe),
        *judge_recurrence(probe),
        *judge_endings(probe),
        *judge_precision(probe),
        *judge_copies(probe),
        *judge_unseen(probe),
        # Behind NaN gradients say nothing.
        *(() if broken else judge_idle(probe)),
    )
    for judge in (judge_collinear, judge_slope, judge_faint):
        found = (*found, *judge(probe, found))
    found = (*found, *judge_targets(probe.against, probe.model), *judge_heads(probe.heads))
    return gravest_first(with_untouched_norms(probe, found))


def gravest_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return errors before warnings before notes, in their order otherwise."""
    return tuple(sorted(findings, key=lambda finding: _GRAVITY.index(finding.severity)))


def remarks(probe: Probe) -> tuple[str, ...]:
    """Say what is worth knowing though no fault, and what could not be judged."""
    notes = []
    if zeros := zero_weights(probe):
        notes.append(
            f"All zeros: {_names(zeros)}. A usual choice for a last layer or the end of a residual branch; "
            "what lies before gets no gradient from it in the first step. If nobody chose it, initialise it."
        )
    cut = [p for p in points(probe.layers) if p.gradient is not None and p.gradient.second_moment == 0]
    if cut:
        notes.append(f"The gradient is zero at {_names(cut)}; those layers were not judged backward.")
    if probe.input_varying == 0:
        notes.append(
            "All samples of the batch are the same, so whether outputs depend on the input was not judged."
        )
    return tuple(notes)


def _names(items: Sequence[ParameterSignal | LayerSignal]) -> str:
    names = ", ".join(f"'{item.name}'" for item in items[:3])
    return f"{names} and {len(items) - 3} more" if len(items) > 3 else names
