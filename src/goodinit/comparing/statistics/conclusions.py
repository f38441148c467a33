"""What a comparison as a whole shows, in sentences, the most important first."""

from __future__ import annotations

from collections.abc import Sequence

from goodinit.comparing.statistics.pairs import ALPHA
from goodinit.comparing.statistics.sentences import number, place, range_of
from goodinit.records.comparisons import Difference, PlanSummary

__all__ = ["conclude"]


def conclude(
    best: Sequence[PlanSummary],
    best_differences: Sequence[Difference],
    equal_differences: Sequence[Difference],
    failures_found: Sequence[str],
    unscored: Sequence[str],
    summaries: Sequence[PlanSummary],
    rates: Sequence[float] | None,
    *,
    metric: str,
    higher_is_better: bool,
    tests: int,
) -> tuple[str, ...]:
    """Put the sentences of a comparison together.

    Args:
        best: each plan at its best rate, or at the only one.
        best_differences: between these.
        equal_differences: between plans at equal rates; empty where there is only one.
        failures_found: sentences of the plans that fail more often than others at equal rates.
        unscored: sentences of the plans with members whose metric is no number.
        summaries: each plan at each rate.
        rates: the best one of each plan; None where there is only one.
        metric: name of the metric.
        higher_is_better: its direction.
        tests: how many tests share the error rate.
    """
    told = [_headline(best, best_differences, metric, higher_is_better)] if len(best) != 2 else []
    told += [gap.conclusion for gap in best_differences]
    told += _at_equal_rates(equal_differences)
    told += failures_found
    if rates is not None:
        tried = sorted({plan.lr for plan in summaries if plan.lr is not None})
        told += [_choice(plan.plan, rate, tried) for plan, rate in zip(best, rates, strict=True)]
        told.append(
            "Best rates were chosen on the seeds that are shown: medians there are a little too good, for "
            "every plan; the p-values take the choice into account."
        )
    told += [*_failed(summaries), *unscored]
    seeds = best[0].seeds
    if seeds < 6:
        told.append(
            f"With {_seeds(seeds)} no interval of a median reaches 95 %, and no "
            "difference can be found; 6 is the least, for a single comparison."
        )
    if tests > 1:
        told.append(
            f"{tests} tests share one error rate: plans that do not differ would bring any finding at all "
            "in at most 5 % of such comparisons."
        )
    return tuple(told)


def _headline(
    best: Sequence[PlanSummary], gaps: Sequence[Difference], metric: str, higher_is_better: bool
) -> str:
    """Name the plan with the best median, and which others it beats for sure."""
    leader = (max if higher_is_better else min)(best, key=lambda plan: plan.score.value)
    median = (
        f"median {metric} {number(leader.score.value)} ({range_of(leader.score)}, {_seeds(leader.seeds)})"
    )
    where = "" if leader.lr is None else place(leader.lr)
    if len(best) == 1:
        return f"{leader.plan}{where}: {median}."
    where = place(leader.lr)
    if all(plan.score.value == leader.score.value for plan in best):
        return f"No plan leads{where}: {median} for all of them."
    beaten = {loser for gap in gaps for winner, loser in [_order(gap)] if winner == leader.plan}
    others = [plan.plan for plan in best if plan is not leader]
    level = [name for name in others if name not in beaten]
    head = f"{leader.plan} has the best median{where}: {median}."
    if not level:
        return f"{head} It beats all others."
    if not beaten:
        return f"{head} It cannot be told apart from any other."
    return (
        f"{head} It beats {_list([name for name in others if name in beaten])}, and cannot be told apart "
        f"from {_list(level)}."
    )


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _order(gap: Difference) -> tuple[str, str]:
    """Winner and loser of a difference that was found; two empty names where none was."""
    if gap.p_holm > ALPHA:
        return "", ""
    return (gap.first, gap.second) if gap.wins > gap.losses else (gap.second, gap.first)


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _at_equal_rates(gaps: Sequence[Difference]) -> list[str]:
    """Say which plans beat which at equal rates, one sentence a pair, and how much stays open."""
    found: dict[tuple[str, str], list[str]] = {}
    for gap in gaps:
        if gap.p_holm <= ALPHA and gap.lr is not None:
            found.setdefault(_order(gap), []).append(f"{gap.lr:g}")
    told = [f"{winner} beats {loser} at lr {_list(rates)}." for (winner, loser), rates in found.items()]
    still_open = len(gaps) - sum(map(len, found.values()))
    if still_open:
        told.append(
            f"At equal learning rates no difference can be concluded in {still_open} of {len(gaps)} "
            "comparisons."
        )
    return told


def _choice(plan: str, rate: float, tried: Sequence[float]) -> str:
    """Say which learning rate suits a plan, and whether a better one may lie beyond those tried."""
    text = f"{plan} does best at lr {rate:g}"
    if rate in (tried[0], tried[-1]):
        edge, side = ("smallest", "smaller") if rate == tried[0] else ("largest", "larger")
        text += f", the {edge} tried; a {side} one may be better"
    return text + "."


def _failed(summaries: Sequence[PlanSummary]) -> list[str]:
    """Count the members that diverged or died, by plan and rate."""
    found = []
    for plan in summaries:
        for share, what in ((plan.diverged, "diverged"), (plan.dead, "ended with a constant output")):
            if share.value:
                percent = f"{100 * share.low:.0f} to {100 * share.high:.0f} %"
                found.append(
                    f"{plan.plan}{place(plan.lr)}: {round(share.value * plan.seeds)} of {plan.seeds} {what} "
                    f"({percent} with 95 % confidence)."
                )
    return found
