"""Sentences for one comparison of two plans: what it shows, what it does not, and what would settle it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.comparing.statistics.pairs import ALPHA
from goodinit.comparing.statistics.sample_size import least_seeds
from goodinit.records.comparisons import Interval, MemberRun

__all__ = [
    "difference_sentence",
    "failure_sentence",
    "failures",
    "number",
    "p_value",
    "place",
    "range_of",
    "unscored_sentence",
]


def number(value: float) -> str:
    """Write a number to three digits, with a real minus sign.

    >>> number(-0.04567), number(float("-inf"))
    ('−0.0457', '−∞')
    """
    text = "∞" if math.isinf(value) else f"{abs(value):.3g}"
    return f"−{text}" if value < 0 else text


def p_value(p: float) -> str:
    """Write a p-value: ``p = 0.03``, or a bound where more digits would mean nothing.

    >>> p_value(0.0312), p_value(1e-12)
    ('p = 0.031', 'p < 1e-6')
    """
    return "p < 1e-6" if p < 1e-6 else f"p = {p:.2g}"


def place(lr: float | None) -> str:
    """Say at which learning rate, to follow a word."""
    return ", each at its best learning rate" if lr is None else f" at lr {lr:g}"


def range_of(interval: Interval) -> str:
    """Write an interval with the confidence it has."""
    if interval.confidence <= 0:
        return "one seed gives no interval"
    return f"{100 * interval.confidence:.3g} % interval {number(interval.low)} to {number(interval.high)}"


def failures(runs: Sequence[MemberRun]) -> str:
    """Count what failed: ``2 of 32 diverged``, or ``3 of 32 (2 diverged, 1 dead)``."""
    kinds = {kind: sum(run.outcome == kind for run in runs) for kind in ("diverged", "dead")}
    found = [kind for kind, count in kinds.items() if count]
    every = f"{sum(kinds.values())} of {len(runs)}"
    if len(found) > 1:
        return f"{every} ({', '.join(f'{kinds[kind]} {kind}' for kind in found)})"
    return f"{every} {found[0]}" if found else every


def difference_sentence(
    names: tuple[str, str],
    lr: float | None,
    counts: tuple[int, int, int],
    p_holm: float,
    difference: Interval,
    metric: str,
    needed: int | None,
    alpha: float,
    *,
    scored: bool = True,
) -> str:
    """Say which of two plans is better, or that this cannot be said and what would settle it.

    Args:
        names: of the two plans.
        lr: learning rate of both; None for each at its best.
        counts: wins of the first, of the second, ties.
        p_holm: corrected p-value.
        difference: median of first minus second.
        metric: its name.
        needed: seeds that would settle it, if any number would.
        alpha: level that this comparison is held to after the correction, for the least number of seeds.
        scored: whether any member of the two has a finite score.
    """
    wins, losses, ties = counts
    seeds, where = sum(counts), place(lr)
    tied = f", {ties} tied" if ties else ""
    size = f"{names[0]} minus {names[1]} in {metric}: {number(difference.value)} ({range_of(difference)})"
    if math.isinf(difference.value):
        size = f"{names[wins > losses]} has no finite {metric} on half of them or more"
    if p_holm <= ALPHA:
        winner, loser, won = (*names, wins) if wins > losses else (*reversed(names), losses)
        return (
            f"{winner} beats {loser}{where}: better on {won} of {seeds} seeds{tied} "
            f"({p_value(p_holm)} after Holm), {size}."
        )
    if not scored:
        return (
            f"Nothing tells {' from '.join(names)}{where}: no member of either ends with a finite {metric}."
        )
    if ties == seeds:
        return f"{names[0]} and {names[1]} score the same on all {seeds} seeds{where}."
    head = (
        f"No difference between {names[0]} and {names[1]} can be concluded{where}: "
        f"{wins} of {seeds} seeds are better with the first, {losses} with the second{tied} "
        f"({p_value(p_holm)} after Holm), {size}."
    )
    fewest = least_seeds(alpha)
    if wins + losses < least_seeds(ALPHA):
        head += f" So few untied seeds settle nothing, whatever they show; it takes {fewest} or more" + (
            f", about {needed} if the difference is what it seems." if needed else "."
        )
    elif needed is None:
        head += " It is too small for any reasonable number of seeds to settle."
    else:
        head += f" About {needed} seeds would settle it, if the difference is as large as it seems here."
    return head


def failure_sentence(
    names: tuple[str, str],
    lr: float | None,
    runs: tuple[Sequence[MemberRun], Sequence[MemberRun]],
    p_holm: float,
) -> str:
    """Say whether one of two plans fails more often; empty where no member failed."""
    counts = [sum(run.outcome != "finished" for run in group) for group in runs]
    if not any(counts):
        return ""
    if p_holm > ALPHA:
        return (
            f"Failures{place(lr)}: {names[0]} {failures(runs[0])}, {names[1]} {failures(runs[1])}; "
            f"no difference in their shares can be concluded ({p_value(p_holm)} after Holm)."
        )
    more = int(counts[1] > counts[0])
    return (
        f"{names[more]} fails more often than {names[1 - more]}{place(lr)}: {failures(runs[more])} "
        f"against {failures(runs[1 - more])} ({p_value(p_holm)} after Holm)."
    )


def unscored_sentence(plan: str, lr: float | None, runs: Sequence[MemberRun], metric: str) -> str:
    """Count the members that did not diverge and whose metric is no number; empty where there are none."""
    count = sum(run.outcome != "diverged" and math.isnan(run.score) for run in runs)
    if not count:
        return ""
    every = f"{count} of {len(runs)}"
    return f"{plan}{place(lr)}: {metric} is not a number for {every}, which count as the worst."
