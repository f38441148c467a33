"""From trained members to summaries, differences and conclusions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from goodinit.comparing.statistics.conclusions import conclude
from goodinit.comparing.statistics.curves import curve
from goodinit.comparing.statistics.intervals import median_interval, share_interval
from goodinit.comparing.statistics.paired import differences, rank_biserial
from goodinit.comparing.statistics.pairs import ALPHA, Pairs, at_each_level, compare_pairs
from goodinit.comparing.statistics.sample_size import MOST, seeds_needed
from goodinit.comparing.statistics.sentences import difference_sentence, failure_sentence, unscored_sentence
from goodinit.errors import ArgumentError
from goodinit.records.comparisons import Difference, MemberRun, PlanSummary

__all__ = ["Summary", "summarize"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """The fields of `Comparison` that follow from its runs."""

    summaries: tuple[PlanSummary, ...]
    best: tuple[PlanSummary, ...]
    differences: tuple[Difference, ...]
    best_differences: tuple[Difference, ...]
    conclusions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Members:
    """Runs by [level][plan][seed] and their scores likewise; a level is a rate, the last the best ones."""

    plans: tuple[str, ...]
    levels: tuple[float | None, ...]
    runs: list[list[list[MemberRun]]]
    scores: Floats
    pairs: Pairs
    metric: str
    higher: bool

    def summary(self, level: int, plan: int, steps: Sequence[int]) -> PlanSummary:
        """Summarize one plan at one level."""
        runs = self.runs[level][plan]
        worst = -math.inf if self.higher else math.inf
        diverged, dead = (sum(run.outcome == kind for run in runs) for kind in ("diverged", "dead"))
        return PlanSummary(
            self.plans[plan],
            self.levels[level],
            len(runs),
            median_interval(self.scores[level, plan]),
            share_interval(diverged, len(runs)),
            share_interval(dead, len(runs)),
            curve(steps, [run.train for run in runs], worst=math.inf),
            curve(steps, [run.test for run in runs], worst=math.inf),
            curve(steps, [run.metric for run in runs], worst=worst),
        )

    def failures(self, level: int, pair: int) -> str:
        """Say which plan of a pair fails more often; empty where none failed."""
        i, j = self.pairs.index[pair]
        return failure_sentence(
            (self.plans[i], self.plans[j]),
            self.levels[level],
            (self.runs[level][i], self.runs[level][j]),
            float(self.pairs.failure_p_holm[level, pair]),
        )

    def failures_found(self) -> tuple[str, ...]:
        """Sentences of the pairs at equal rates of which one fails more often."""
        found = np.argwhere(self.pairs.failure_p_holm[:-1] <= ALPHA)
        return tuple(self.failures(int(level), int(pair)) for level, pair in found)

    def unscored(self) -> tuple[str, ...]:
        """Sentences of the plans and rates with members whose metric is no number."""
        each = (
            unscored_sentence(name, lr, runs, self.metric)
            for lr, rows in zip(self.levels, self.runs, strict=True)
            if lr is not None
            for name, runs in zip(self.plans, rows, strict=True)
        )
        return tuple(filter(None, each))

    def difference(self, level: int, pair: int, test: str) -> Difference:
        """Compare the plans of one pair at one level."""
        i, j = self.pairs.index[pair]
        names, lr = (self.plans[i], self.plans[j]), self.levels[level]
        gap = differences(self.scores[level, i], self.scores[level, j])
        wins, losses, ties = (
            int(c[level, pair]) for c in (self.pairs.wins, self.pairs.losses, self.pairs.ties)
        )
        p, p_holm = float(self.pairs.p[level, pair]), float(self.pairs.p_holm[level, pair])
        # With more seeds every test of scores can find something, and then they all share the level.
        alpha = ALPHA / max(int(self.pairs.family), self.pairs.p.size)
        needed = None if p_holm <= ALPHA else _needed(wins, losses, ties, alpha)
        size = median_interval(gap)
        scored = bool(np.isfinite(self.scores[level, [i, j]]).any())
        told = difference_sentence(
            names, lr, (wins, losses, ties), p_holm, size, self.metric, needed, alpha, scored=scored
        )
        failed = self.failures(level, pair)
        effect = rank_biserial(gap if self.higher else -gap)
        return Difference(
            *names,
            lr,
            size,
            wins,
            losses,
            ties,
            test,
            p,
            p_holm,
            effect,
            needed,
            " ".join(filter(None, (told, failed))),
        )


def _needed(wins: int, losses: int, ties: int, alpha: float) -> int | None:
    """Return how many seeds give a sign test 80 % power at the share of wins seen here, a little shrunk.

    Few seeds exaggerate: of the plans that win all of 5 seeds most would not win all of 500. The
    share is therefore Laplace's (w + 1)/(n + 2), the mean of what it may be when nothing was known.
    """
    untied = wins + losses
    if wins == losses:
        return None
    seeds = seeds_needed((max(wins, losses) + 1) / (untied + 2), alpha)
    if seeds is None:
        return None
    every = math.ceil(seeds * (untied + ties) / untied)
    return every if every <= MOST else None


def _grid(
    plans: Sequence[str], lrs: Sequence[float], seeds: Sequence[int], runs: Sequence[MemberRun]
) -> list[list[list[MemberRun]]]:
    """Sort runs into [plan][rate][seed]."""
    found = {(run.plan, run.lr, run.seed): run for run in runs}
    wanted = [(plan, lr, seed) for plan in plans for lr in lrs for seed in seeds]
    missing = [key for key in wanted if key not in found]
    if missing or not wanted:
        first = (
            f", the first plan {missing[0][0]!r}, lr {missing[0][1]:g}, seed {missing[0][2]}"
            if missing
            else ""
        )
        raise ArgumentError(
            f"summarize: runs must hold every plan at every lr and seed, and at least one; "
            f"{len(missing)} of {len(wanted)} are missing{first}"
        )
    return [[[found[plan, lr, seed] for seed in seeds] for lr in lrs] for plan in plans]


def summarize(
    plans: Sequence[str],
    lrs: Sequence[float],
    seeds: Sequence[int],
    steps: Sequence[int],
    higher_is_better: bool,
    runs: Sequence[MemberRun],
    *,
    metric: str = "score",
    test: str = "sign",
) -> Summary:
    """Say what the members show together, and how sure that is.

    Final metrics are compared seed by seed, at equal learning rates and each plan at its best one,
    that with the best median; the tests there take the choice into account (`swap_test`). A member
    that diverged has the worst value, and two that diverged tie. All tests of scores and of failures
    share one error rate of 5 % (Holm).

    The sign test is used unless `test` says otherwise: it asks which plan is better on more seeds,
    is exact for any law, and agrees with the interval of the median difference. Wilcoxon's finds
    smaller differences where these are symmetric, and false ones where they are skewed. Which of the
    two is decided before the seeds are seen, because a test that is chosen by its data errs more.

    Args:
        plans: labels.
        lrs: learning rates.
        seeds: seeds.
        steps: the evaluated steps.
        higher_is_better: direction of the metric.
        runs: one for each plan, learning rate and seed.
        metric: name of the metric in sentences.
        test: ``"sign"`` or ``"wilcoxon"``.

    Returns:
        The fields ``summaries``, ``best``, ``differences``, ``best_differences`` and ``conclusions``
        of a `Comparison`.

    Raises:
        ArgumentError: for missing runs or another test.

    >>> runs = [
    ...     MemberRun(plan, 0.1, seed, (1.0,), (1.0,), (float(seed + 9 * (plan == "b")),))
    ...     for plan in ("a", "b")
    ...     for seed in range(8)
    ... ]
    >>> found = summarize(("a", "b"), (0.1,), range(8), (0,), False, runs, metric="mse")
    >>> print(found.conclusions[0].partition(", ")[0])
    a beats b at lr 0.1: better on 8 of 8 seeds (p = 0.0078 after Holm)
    """
    if test not in ("sign", "wilcoxon"):
        raise ArgumentError(f"summarize: test must be 'sign' or 'wilcoxon', found {test!r}")
    grid = _grid(plans, lrs, seeds, runs)
    worst = -math.inf if higher_is_better else math.inf
    scores = np.array([[[run.score for run in row] for row in rows] for rows in grid])
    scores = np.where(np.isnan(scores), worst, scores)
    failed = np.array([[[run.outcome != "finished" for run in row] for row in rows] for rows in grid])
    cost = -scores if higher_is_better else scores
    pairs = compare_pairs(cost, failed, test=test)
    # With one rate there is nothing to choose and nothing more to test.
    chosen = pairs.chosen
    levels: tuple[float | None, ...] = tuple(lrs) if chosen is None else (*lrs, None)
    by_level = [[rows[rate] for rows in grid] for rate in range(len(lrs))]
    if chosen is not None:
        by_level.append([rows[rate] for rows, rate in zip(grid, chosen, strict=True)])
    members = _Members(
        tuple(plans),
        levels,
        by_level,
        at_each_level(scores, chosen),
        pairs,
        metric,
        higher_is_better,
    )
    summaries = tuple(
        members.summary(level, plan, steps) for plan in range(len(plans)) for level in range(len(lrs))
    )
    gaps = [
        tuple(members.difference(level, pair, test) for pair in range(len(members.pairs.index)))
        for level in range(len(levels))
    ]
    equal = tuple(gap for level in gaps[: len(lrs)] for gap in level)
    best = (
        summaries if chosen is None else tuple(members.summary(len(lrs), p, steps) for p in range(len(plans)))
    )
    swept = chosen is not None
    return Summary(
        summaries=summaries,
        best=best,
        differences=equal,
        best_differences=gaps[-1],
        conclusions=conclude(
            best,
            gaps[-1],
            equal if swept else (),
            members.failures_found() if swept else (),
            members.unscored(),
            summaries,
            None if chosen is None else [float(lrs[rate]) for rate in chosen],
            metric=metric,
            higher_is_better=higher_is_better,
            tests=int(members.pairs.family),
        ),
    )
