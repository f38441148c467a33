"""Which plan trains best: the members that were trained, what they say together, and how sure that is."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from goodinit.records.form import from_json_text, to_jsonable
from goodinit.records.showing import Shown

__all__ = ["Comparison", "Curve", "Difference", "Interval", "MemberRun", "PlanSummary"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; `confidence` is the share of repetitions that such intervals cover."""

    value: float
    low: float
    high: float
    confidence: float = 0.95


@dataclass(frozen=True)
class Curve:
    """Median and quantile band over seeds at each evaluation; members that failed count as the worst value.

    `steps`, `median`, `low` and `high` have one entry for each evaluation; `low` and `high` are the
    quantiles of `levels`.
    """

    steps: tuple[int, ...]
    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    levels: tuple[float, float] = (0.1, 0.9)


@dataclass(frozen=True)
class MemberRun:
    """One network that was trained: a plan, a learning rate and a seed.

    Attributes:
        plan: the plan's label; `lr` the learning rate; `seed` of its weights and batches.
        train: loss on the training set at each evaluation; NaN from where it diverged.
        test: loss on the test set at each evaluation.
        metric: the metric on the test set at each evaluation (the loss itself where none was asked for).
        outcome: ``"finished"``; ``"diverged"``: a loss was not finite; ``"dead"``: in the end the
            output is the same for all training inputs.
        failed_at: the first evaluated step at which it was seen to have diverged; None for others.
    """

    plan: str
    lr: float
    seed: int
    train: tuple[float, ...]
    test: tuple[float, ...]
    metric: tuple[float, ...]
    outcome: str = "finished"
    failed_at: int | None = None

    @property
    def score(self) -> float:
        """The metric at the last evaluation; NaN where the member diverged."""
        return self.metric[-1] if self.outcome != "diverged" else math.nan


@dataclass(frozen=True)
class PlanSummary:
    """One plan at one learning rate, or at its best one (`lr` is None: see `Comparison.best`).

    Attributes:
        plan: the label; `lr` the learning rate, None for the plan's best one.
        seeds: how many members.
        score: median of the final metric over seeds, with its interval by order statistics;
            members that diverged count as the worst value.
        diverged: share of members that diverged, with its Wilson interval.
        dead: share whose output became constant, with its Wilson interval.
        train: curve of the loss on the training set; `test` on the test set; `metric` of the metric.
    """

    plan: str
    lr: float | None
    seeds: int
    score: Interval
    diverged: Interval
    dead: Interval
    train: Curve
    test: Curve
    metric: Curve


@dataclass(frozen=True)
class Difference:
    """Two plans, seed by seed.

    Attributes:
        first: label of one plan; `second` of the other.
        lr: the learning rate of both; None where each is at its own best.
        difference: median over seeds of first minus second in the final metric, with its interval.
        wins: number of seeds at which the first is better; `losses` the second; `ties` neither.
        test: name of the test (``"sign"`` or ``"wilcoxon"``).
        p: its p-value; `p_holm` after Holm's correction over all differences of the comparison,
            those between shares of failures included.
        effect: rank-biserial correlation, from −1 (the second always better) to 1.
        seeds_needed: about how many seeds would settle it at the effect measured; None where it
            is settled, or where no number of seeds is likely to.
        conclusion: a sentence that says what can and what cannot be concluded.
    """

    first: str
    second: str
    lr: float | None
    difference: Interval
    wins: int
    losses: int
    ties: int
    test: str
    p: float
    p_holm: float
    effect: float
    seeds_needed: int | None
    conclusion: str


@dataclass(frozen=True)
class Comparison(Shown):
    """The outcome of `goodinit.compare`.

    Attributes:
        model: what was built; `data` what it was trained on.
        plans: the labels, in the order given; `lrs` the learning rates; `seeds` the seeds.
        steps: the evaluated steps; 0 is the start.
        metric: name of the metric; `higher_is_better` its direction.
        settings: optimizer, batch size, loss and the like, in words, by name.
        runs: every member.
        summaries: each plan at each learning rate.
        best: each plan at its best learning rate, the one with the best median over all seeds.
            Medians there are a little too good; the p-values of `best_differences` take the choice
            into account.
        differences: between plans at equal learning rates.
        best_differences: between plans, each at its best rate.
        conclusions: sentences, the most important first.
        notes: how it was run: engine, threads, versions, what was left out and why.
    """

    model: str
    data: str
    plans: tuple[str, ...]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    metric: str
    higher_is_better: bool
    settings: dict[str, str]
    runs: tuple[MemberRun, ...]
    summaries: tuple[PlanSummary, ...]
    best: tuple[PlanSummary, ...]
    differences: tuple[Difference, ...]
    best_differences: tuple[Difference, ...]
    conclusions: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the outcome as JSON text; `Comparison.from_json` reads it back."""
        return json.dumps({"goodinit": "comparison", **to_jsonable(self)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Rebuild an outcome from `to_json`'s text."""
        return from_json_text(cls, text, "comparison")
