"""How the demo shows its figures: findings, tables, a conclusion that follows from them, a picture."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from demo_task import AFTER, BEFORE, INITS, RECIPE, Run, mean_accuracy
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from goodinit.files import beside
from goodinit.records import LayerSignal, Report

# A float32 is rounded by at most 2⁻²⁴ of itself: a part of the second moment below this is rounding.
_ROUNDING = 2.0**-48


def convolutions(report: Report) -> list[LayerSignal]:
    """Return what was measured at the outputs of the convolutions, in order of depth."""
    return [layer for layer in report.layers if layer.kind == "Conv2d"]


def image_part(layer: LayerSignal) -> float:
    """Return the part of the output's second moment that differs from image to image."""
    assert layer.varying is not None
    return layer.varying


def rounding(layer: LayerSignal) -> float:
    """Return the size below which a part of the output's second moment is float32 rounding."""
    return layer.output.second_moment * _ROUNDING


def gradient(layer: LayerSignal) -> float:
    """Return the second moment of the loss gradient at the layer's output."""
    assert layer.gradient is not None
    return layer.gradient.second_moment


def forward_factor(report: Report) -> float:
    """Return what is left of the image part after all convolutions: last over first."""
    layers = convolutions(report)
    return image_part(layers[-1]) / image_part(layers[0])


def backward_factor(report: Report) -> float:
    """Return what is left of the gradient after all convolutions: first over last."""
    layers = convolutions(report)
    return gradient(layers[0]) / gradient(layers[-1])


def findings(reports: Sequence[Report]) -> RenderableType:
    """Return the verdict over all seeds and the findings of the first one."""
    report = reports[0]
    healthy = sum(other.healthy for other in reports)
    codes = sorted({finding.code for other in reports for finding in other.findings})
    verdict, style = ("healthy", "bold green") if report.healthy else ("not healthy", "bold red")
    seeds = f" (healthy for {healthy} of {len(reports)} seeds{': ' if codes else ''}{', '.join(codes)})"
    parts: list[RenderableType] = [Text.assemble((f"{report.model} is {verdict}", style), seeds, ".")]
    for finding in report.findings:
        ends = dict.fromkeys((finding.where[0], finding.where[-1]))
        head = Text.assemble((f"{finding.code}  {finding.title}", style), f"  {' … '.join(ends)}")
        body = Text.assemble(finding.cause, ("\nCure: ", "dim"), (finding.cure, "green"))
        parts += [head, Padding(body, (0, 0, 0, 7))]
    return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def training_table(tuning: Sequence[Run], final: Sequence[Run]) -> RenderableType:
    """Return validation accuracy by rate, then loss, time and test accuracies at the chosen rate."""
    rates = sorted({run.rate for run in tuning})
    table = _table("init", *(f"lr {rate:g}" for rate in rates), "loss", "time", "test accuracy")
    for init in INITS:
        own = [run for run in final if run.init == init]
        tried = {run.rate: run.accuracy for run in tuning if run.init == init}
        table.add_row(
            init,
            *(f"{'*' if rate == own[0].rate else ''}{tried[rate]:.1%}" for rate in rates),
            f"{statistics.fmean(run.loss for run in own):.3f}",
            f"{statistics.fmean(run.seconds for run in own):.1f}s",
            " ".join(f"{run.accuracy:.1%}" for run in own),
        )
    note = (
        "lr: validation accuracy by highest learning rate, * the chosen one, with which\n"
        "loss and time (means of the trainings) and test accuracy (one for each seed) were got."
    )
    return Group(table, Text(note, style="dim"))


def depth_table(reports: Mapping[str, Sequence[Report]]) -> RenderableType:
    """Return second moments at a few depths, before and after."""
    table = _table("output of", "signal before", "after", "gradient before", "after")
    nets = [convolutions(reports[init][0]) for init in INITS]
    last = len(nets[0]) - 1
    for index in sorted({0, last // 3, 2 * last // 3, last}):
        cells = [f"{measure(net[index]):.1e}" for measure in (image_part, gradient) for net in nets]
        table.add_row(f"convolution {index + 1}", *cells)
    note = (
        "Second moments. signal: the part of the output that differs from image to image.\n"
        f"Rounding to float32 alone is {rounding(nets[0][last]):.0e} at convolution {last + 1} before."
    )
    return Group(table, Text(note, style="dim"))


def conclusion(reports: Mapping[str, Sequence[Report]], final: Sequence[Run], chance: float) -> str:
    """Return what the figures say, in words that follow from them."""
    lines = []
    for init in INITS:
        report = reports[init][0]
        lines += [
            f"{init}: of the signal {forward_factor(report):.0e} arrives, "
            f"of the gradient {backward_factor(report):.0e};",
            f"  mean test accuracy {mean_accuracy(final, init):.1%}, "
            f"and always naming one digit gives {chance:.1%}.",
        ]
    gap = (mean_accuracy(final, AFTER) - mean_accuracy(final, BEFORE)) * 100
    word = "more" if gap > 0 else "fewer"
    lines.append(f"{RECIPE} gets {abs(gap):.1f} points {word} (this network, these data, these steps).")
    return "\n".join(lines)


def draw(reports: Mapping[str, Sequence[Report]], path: Path) -> None:
    """Draw signal and gradient over depth as a PNG: one line a seed, before and after."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # Vermillion and blue of Okabe and Ito's palette (2008), which colour-blind readers tell apart.
    styles = {BEFORE: ("#D55E00", "o"), AFTER: ("#0072B2", "s")}
    figure = Figure(figsize=(10, 4.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    panels: tuple[tuple[str, Callable[[LayerSignal], float], Callable[[Report], float]], ...] = (
        ("Forward: the signal that tells images apart", image_part, forward_factor),
        ("Backward: the gradient of the loss", gradient, backward_factor),
    )
    for axes, (title, measure, factor) in zip((left, right), panels, strict=True):
        for init, (colour, marker) in styles.items():
            left_over = f"{factor(reports[init][0]):.0e}".split("e")
            label = rf"{init}: ${left_over[0]} \times 10^{{{int(left_over[1])}}}$ is left"
            for number, report in enumerate(reports[init]):
                values = [measure(layer) for layer in convolutions(report)]
                # The first seed, of which the text speaks, stands out.
                strength = {"alpha": 1.0, "zorder": 3} if number == 0 else {"alpha": 0.3, "zorder": 2}
                axes.plot(
                    range(1, len(values) + 1),
                    values,
                    color=colour,
                    marker=marker,
                    markersize=4 if number == 0 else 2.5,
                    linewidth=1.4,
                    label=label if number == 0 else None,
                    **strength,
                )
        axes.set_yscale("log")
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(xlabel="convolution", ylabel="second moment that differs between images")
    right.set(
        xlabel="convolution (gradients travel from right to left)", ylabel="second moment of the gradient"
    )
    floor = [rounding(layer) for layer in convolutions(reports[BEFORE][0])]
    left.plot(range(1, len(floor) + 1), floor, color="#777777", linestyle=":", label="rounding of float32")
    left.legend(frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.72))
    right.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, 0.82))
    with beside(path) as part:
        figure.savefig(part, format="png")
