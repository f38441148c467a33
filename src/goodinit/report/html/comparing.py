"""A `Comparison` as a page: what can be concluded, the curves, the differences, every member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from goodinit.records import Comparison, Curve, Difference, Grid, Interval, Line, Picture, PlanSummary
from goodinit.report.html.numbers import percent, scientific
from goodinit.report.html.pictures import picture
from goodinit.report.html.pieces import Column, Figure, Section, Table, Tile
from goodinit.report.words import count

__all__ = ["circumstances", "content", "sections"]


def content(made: Comparison) -> dict[str, Any]:
    """Return what the page of a comparison holds."""
    failed = sum(run.outcome != "finished" for run in made.runs)
    return {
        "kind": "comparison",
        "title": made.model,
        "tone": "plain",
        "sentence": made.conclusions[0] if made.conclusions else "Nothing was compared.",
        "facts": (f"trained on {made.data}",),
        "answers": made.conclusions[1:],
        "tiles": (
            Tile("plans", str(len(made.plans))),
            Tile("learning rates", str(len(made.lrs))),
            Tile("seeds", str(len(made.seeds))),
            Tile("networks trained", f"{len(made.runs):,}", f"{failed:,} diverged or dead"),
        ),
        "sections": [*sections(made), circumstances(made.settings, made.notes)],
    }


def circumstances(settings: dict[str, str], notes: Sequence[str]) -> Section:
    """Return the last section: the settings, and what is to be known about the run."""
    rows = (*settings.items(), *(("", note) for note in notes))
    columns = (Column("setting", "text"), Column("value", "text"))
    table = Table("circumstances", "How it was run", columns, rows)
    return Section("circumstances", "How it was run", "Settings", "", (), (table,))


def sections(made: Comparison, prefix: str = "") -> list[Section]:
    """Return the sections of a comparison; `prefix` tells several on one page apart."""
    found = [
        Section(
            f"{prefix}curves",
            "Training",
            "Training",
            "Median over seeds, with the band that holds the middle four fifths of them. "
            "Members that diverged count as worst.",
            tuple(_curves(made, prefix)),
        ),
        Section(
            f"{prefix}plans",
            "Plans",
            "Plans",
            "Medians over seeds with their 95 % intervals; shares of members that failed likewise.",
            tuple(_rates(made, prefix)),
            (_plans(made, prefix),),
        ),
        Section(
            f"{prefix}differences",
            "Differences, seed by seed",
            "Differences",
            "Each seed gives all plans the same batches, so that plans are compared within seeds.",
            (),
            (_differences(made, prefix), _conclusions(made, prefix)),
        ),
        Section(f"{prefix}members", "Members", "Members", "", (), (_members(made, prefix),)),
    ]
    return [section for section in found if not section.empty]


def _curves(made: Comparison, prefix: str) -> list[Figure]:
    wanted: list[tuple[str, str, Callable[[PlanSummary], Curve]]] = [
        ("train", "Loss on the training set", lambda each: each.train),
        ("test", "Loss on the test set", lambda each: each.test),
    ]
    if any(each.metric != each.test for each in made.best):  # the metric is not the loss itself
        wanted.append(("metric", f"{made.metric} on the test set", lambda each: each.metric))
    rate = f"at {scientific(made.lrs[0])}" if len(made.lrs) == 1 else "each at its best learning rate"
    drawn = []
    for key, title, of in wanted:
        lines = tuple(_line(each.plan, of(each)) for each in made.best)
        ends = ", ".join(f"{each.plan} {scientific(of(each).median[-1])}" for each in made.best)
        summary = f"{title} with training, {rate}. In the end: {ends}."
        positive = all(value > 0 for line in lines for value in line.y)
        drawn.append(
            picture(
                Picture(
                    f"curve-{key}",
                    title,
                    summary,
                    "step",
                    "",
                    False,
                    positive and not (key == "metric" and made.higher_is_better),
                    lines,
                ),
                prefix,
            )
        )
    return drawn


def _line(label: str, curve: Curve) -> Line:
    return Line(label, tuple(map(float, curve.steps)), curve.median, curve.low, curve.high)


def _rates(made: Comparison, prefix: str) -> list[Figure]:
    """The final metric and the share that failed against the learning rate, where there are several."""
    if len(made.lrs) < 2:
        return []
    by_plan = [(plan, [each for each in made.summaries if each.plan == plan]) for plan in made.plans]
    scores = tuple(_against_rate(plan, rows, lambda each: each.score) for plan, rows in by_plan)
    failed = tuple(
        tuple(each.diverged.value + each.dead.value for each in sorted(rows, key=lambda each: each.lr or 0.0))
        for _, rows in by_plan
    )
    # A grid's first row is its lowest.
    rates = tuple(map(scientific, sorted(made.lrs)))
    grid = Grid(rates, made.plans[::-1], failed[::-1], "share diverged or dead")
    log = not made.higher_is_better and all(value > 0 for line in scores for value in line.y)
    title = f"Final {made.metric} against the learning rate"
    summary = "Median over seeds with its interval; initialization and learning rate are judged together."
    figures = [picture(Picture("rates", title, summary, "learning rate", "", True, log, scores), prefix)]
    if any(any(row) for row in failed):
        figures.append(
            picture(
                Picture(
                    "failures",
                    "Members that failed",
                    "Share of members that diverged, or whose output became constant.",
                    "learning rate",
                    "",
                    grid=grid,
                ),
                prefix,
            )
        )
    return figures


def _against_rate(plan: str, rows: Sequence[PlanSummary], of: Callable[[PlanSummary], Interval]) -> Line:
    known = sorted((each.lr, of(each)) for each in rows if each.lr is not None)
    return Line(
        plan,
        tuple(rate for rate, _ in known),
        tuple(each.value for _, each in known),
        tuple(each.low for _, each in known),
        tuple(each.high for _, each in known),
    )


def _plans(made: Comparison, prefix: str) -> Table:
    columns = (
        Column("plan", "name"),
        Column("learning rate"),
        Column("seeds"),
        Column(f"final {made.metric}"),
        Column("95 % interval", "text"),
        Column("diverged"),
        Column("interval", "text"),
        Column("dead"),
        Column("interval", "text"),
    )
    several = len(made.lrs) > 1
    rows = [_plan_row(each) for each in (*(made.best if several else ()), *made.summaries)]
    return Table(f"{prefix}plans", "Plans", columns, tuple(rows))


def _plan_row(each: PlanSummary) -> tuple[str, ...]:
    return (
        each.plan,
        "best" if each.lr is None else scientific(each.lr),
        str(each.seeds),
        scientific(each.score.value),
        _between(each.score, scientific),
        percent(each.diverged.value),
        _between(each.diverged, percent),
        percent(each.dead.value),
        _between(each.dead, percent),
    )


def _between(each: Interval, words: Callable[[float], str]) -> str:
    return f"{words(each.low)} to {words(each.high)}"


def _differences(made: Comparison, prefix: str) -> Table:
    columns = (
        Column("plans", "name"),
        Column("learning rate"),
        Column("median difference"),
        Column("95 % interval", "text"),
        Column("wins : losses", "text"),
        Column("test", "text"),
        Column("p"),
        Column("p (Holm)"),
        Column("effect"),
    )
    rows = tuple(_difference_row(each) for each in _every_difference(made))
    return Table(f"{prefix}differences", "Differences", columns, rows)


def _conclusions(made: Comparison, prefix: str) -> Table:
    """What each difference shows in words, which beside so many figures would have no room."""
    columns = (Column("plans", "name"), Column("learning rate"), Column("conclusion", "text"))
    rows = tuple((*_which(each), each.conclusion) for each in _every_difference(made))
    return Table(f"{prefix}conclusions", "What each difference shows", columns, rows)


def _every_difference(made: Comparison) -> tuple[Difference, ...]:
    return (*(made.best_differences if len(made.lrs) > 1 else ()), *made.differences)


def _which(each: Difference) -> tuple[str, str]:
    return f"{each.first} − {each.second}", "best" if each.lr is None else scientific(each.lr)


def _difference_row(each: Difference) -> tuple[str, ...]:
    return (
        *_which(each),
        scientific(each.difference.value),
        _between(each.difference, scientific),
        f"{each.wins} : {each.losses}" + (f", {count(each.ties, 'tie')}" if each.ties else ""),
        each.test,
        scientific(each.p),
        scientific(each.p_holm),
        scientific(each.effect),
    )


def _members(made: Comparison, prefix: str) -> Table:
    same = all(run.metric == run.test for run in made.runs)
    columns = (
        Column("plan", "name"),
        Column("learning rate"),
        Column("seed"),
        Column("outcome", "text"),
        Column("training loss"),
        Column("test loss"),
        *([] if same else [Column(made.metric)]),
    )
    rows = tuple(
        (
            run.plan,
            scientific(run.lr),
            str(run.seed),
            run.outcome if run.failed_at is None else f"{run.outcome} by step {run.failed_at}",
            scientific(run.train[-1]),
            scientific(run.test[-1]),
            *([] if same else [scientific(run.metric[-1])]),
        )
        for run in made.runs
    )
    return Table(f"{prefix}members", "Members", columns, rows, search=True)
