"""Draw the pictures of docs/theory.md: every curve comes from goodinit.theory, every dot from a simulation.

    python docs/figures/draw_maps.py [--out FOLDER] [NAME ...]

The same versions of matplotlib, NumPy and goodinit draw the same files.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from goodinit.theory import (
    c_star,
    chi_par,
    chi_perp,
    correlation_map,
    critical_point,
    depth_scales,
    finite_width_fluctuation,
    gain,
    moments,
    operating_point,
    q_map,
    q_star,
)

# Okabe and Ito (2008): colours that colour-blind readers tell apart; dashes tell the lines apart in grey.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
GREY = "#777777"
STYLES = (
    (BLUE, "-"),
    (VERMILLION, (0, (6, 2))),
    (GREEN, (0, (2, 1.2))),
    (PURPLE, (0, (6, 1.5, 1.5, 1.5))),
    (ORANGE, (0, (10, 3))),
)
NEXT_Q, CHI_PERP, CHI_PAR = "of the next layer, $q'$", r"$\chi_\perp$", r"$\chi_\parallel$"
FUNCTIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "relu": lambda h: np.maximum(h, 0),
    "tanh": np.tanh,
}
COMPARED = (
    "relu",
    "gelu",
    "silu",
    "elu",
    "selu",
    "softplus",
    "sin",
    "hardtanh",
    "softsign",
    "tanh",
    "sigmoid",
)


def canvas() -> tuple[Figure, Axes, Axes]:
    """Two panels side by side."""
    figure = Figure(figsize=(10, 4.3), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, left, right


def finish(axes: Axes, title: str, x: str, y: str, legend: str | None) -> None:
    """Say what one sees, name the axes, and keep the frame quiet."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set(xlabel=x, ylabel=y)
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False, loc=legend, fontsize=9)


def second_moment() -> Figure:
    """q_map of tanh for three σ_w, and of four activations at their forward gain."""
    figure, left, right = canvas()
    q = np.linspace(1e-6, 6, 61)
    left.plot([0, 6], [0, 6], color=GREY, linewidth=1)
    for sigma_w, (colour, dash) in zip((0.8, 1.5, 2.5), STYLES, strict=False):
        values = [q_map("tanh", x, sigma_w, 0.3) for x in q]
        fixed = q_star("tanh", sigma_w, 0.3)
        label = rf"$\sigma_w$ = {sigma_w}: $q^*$ = {fixed:.2f}"
        left.plot(q, values, color=colour, linestyle=dash, label=label)
        left.plot(fixed, fixed, "o", color=colour)
    left.set(xlim=(0, 6), ylim=(0, 6))
    title = r"tanh: each $\sigma_w$ leads to one fixed point"
    finish(left, title, r"second moment of this layer, $q$  ($\sigma_b$ = 0.3)", NEXT_Q, "upper left")
    q = np.linspace(1e-6, 2, 81)
    right.plot([0, 2], [0, 2], color=GREY, linewidth=1)
    for name, (colour, dash) in zip(("relu", "selu", "gelu", "tanh"), STYLES, strict=False):
        sigma_w = gain(name)
        slope = chi_par(name, 1.0, sigma_w)
        fate = "stay" if abs(slope - 1) < 1e-9 else "shrink" if slope < 1 else "grow"
        label = rf"{name}, slope {CHI_PAR} = {slope:.2f}: errors {fate}"
        right.plot(q, [q_map(name, x, sigma_w) for x in q], color=colour, linestyle=dash, label=label)
    right.plot(1, 1, "o", color="black", zorder=5)
    right.set(xlim=(0, 2), ylim=(0, 2))
    title = "Gains make $q$ = 1 stay; the slope makes it last"
    finish(right, title, "second moment of this layer, $q$", NEXT_Q, "upper left")
    return figure


def operating() -> Figure:
    """The gradient's factor where σ_w holds q, over q, and the operating points for 50 layers."""
    figure, left, right = canvas()
    depth, q = 50, np.logspace(-4, 4, 65)
    groups = (
        (left, "tanh runs small, sigmoid large", ("tanh", "softsign", "sigmoid", "selu", "sin")),
        (
            right,
            "relu runs anywhere, gelu far out, x² nowhere",
            ("relu", "gelu", "silu", "softplus", "square"),
        ),
    )
    for axes, title, functions in groups:
        bound = 3 ** (1 / depth)
        axes.axhspan(1 / bound, bound, color="#dddddd", label=f"a factor of 3 over {depth} layers")
        axes.axhline(1, color=GREY, linewidth=1)
        for function, (colour, dash), marker in zip(functions, STYLES, "oDs^v", strict=True):
            found = [moments(function, x) for x in q]
            curve = [x * m.derivative_second_moment / m.second_moment for x, m in zip(q, found, strict=True)]
            label = "x²" if function == "square" else function
            axes.plot(q, curve, color=colour, linestyle=dash, label=label)
            point = operating_point(function, depth)
            face = colour if point.good else "white"
            axes.plot(
                point.q, point.chi_perp, marker, color=colour, markerfacecolor=face, markersize=7, zorder=5
            )
        axes.set(xscale="log", yscale="log", ylim=(0.5, 2))
        axes.set_yticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
        axes.minorticks_off()
        words = "$q$ (markers: chosen for 50 layers; open: not good enough)"
        finish(axes, title, words, f"gradient's factor per layer, {CHI_PERP}", "lower left")
    return figure


def correlation() -> Figure:
    """The correlation map of single layers, and what many layers make of two inputs."""
    figure, left, right = canvas()
    c = np.linspace(-1, 1, 33)
    left.plot([-1, 1], [-1, 1], color=GREY, linewidth=1)
    chaotic = (2.5, 0.3)
    one = critical_point("tanh", q=0.5)
    cases: tuple[tuple[str, str, float, float, float], ...] = (
        (r"relu, $\sigma_w$ = √2: slope 1 at $c$ = 1", "relu", 1.0, math.sqrt(2), 0.0),
        ("tanh, critical: slope 1 at $c$ = 1", "tanh", one.q_star, one.sigma_w, one.sigma_b),
        (r"tanh, ordered ($\sigma_w$ = 0.8): slope below 1", "tanh", q_star("tanh", 0.8, 0.3), 0.8, 0.3),
        (r"tanh, chaotic ($\sigma_w$ = 2.5): slope above 1", "tanh", q_star("tanh", *chaotic), *chaotic),
    )
    for (label, name, q, sigma_w, sigma_b), (colour, dash) in zip(cases, STYLES, strict=False):
        values = [correlation_map(name, x, q, sigma_w, sigma_b) for x in c]
        left.plot(c, values, color=colour, linestyle=dash, label=label)
    left.set(xlim=(-1, 1), ylim=(-1, 1.75))
    left.set_yticks([-1, -0.5, 0, 0.5, 1])
    title = "One layer: most maps make two inputs more alike"
    finish(left, title, "correlation of two inputs, $c$", "one layer on, $c'$", "upper left")
    depth = 100
    low, far = operating_point("tanh", depth), operating_point("gelu", depth)
    after: tuple[tuple[str, str, float, float, float], ...] = (
        (r"relu, $\sigma_w$ = √2", "relu", 1.0, math.sqrt(2), 0.0),
        ("gelu at its operating point", "gelu", far.q, far.sigma_w, 0.0),
        ("tanh, critical with biases ($q^*$ = 0.5)", "tanh", one.q_star, one.sigma_w, one.sigma_b),
        (f"tanh at its operating point ($q$ = {low.q:.2g})", "tanh", low.q, low.sigma_w, 0.0),
        ("linear, and relu with mirrored weights", "linear", 1.0, 1.0, 0.0),
    )
    for (label, name, q, sigma_w, sigma_b), (colour, dash) in zip(after, STYLES, strict=True):
        gaps = decorrelation(name, q, sigma_w, sigma_b, depth)
        right.plot(gaps, color=colour, linestyle=dash, label=label)
    right.set(yscale="log", ylim=(2e-3, 30), xlim=(0, depth))
    right.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    right.minorticks_off()
    title = "Many layers: relu makes inputs alike"
    finish(right, title, "layers", "what parts two inputs, 1 − $c$", "upper right")
    return figure


def decorrelation(name: str, q: float, sigma_w: float, sigma_b: float, depth: int) -> NDArray[np.float64]:
    """1 − correlation after 0 to `depth` layers from 0.5 on; log-log lines between 28 points of the map."""
    grid = np.logspace(-4, 0, 28)
    after = [max(1 - correlation_map(name, 1 - gap, q, sigma_w, sigma_b), 1e-12) for gap in grid]
    out = np.full(depth + 1, 0.5)
    for layer in range(depth):
        out[layer + 1] = math.exp(np.interp(math.log(out[layer]), np.log(grid), np.log(after)))
    return out


def susceptibilities() -> Figure:
    """chi_perp and chi_par over q, each activation at its forward gain."""
    figure, left, right = canvas()
    q = np.logspace(-3, 3, 49)
    for axes, chi, title, words in (
        (left, chi_perp, "Gradients: 1 keeps them", f"gradient's factor per layer, {CHI_PERP}"),
        (right, chi_par, "Errors in $q$: below 1 they die out", f"factor of an error in $q$, {CHI_PAR}"),
    ):
        axes.axhline(1, color=GREY, linewidth=1)
        axes.axvline(1, color=GREY, linewidth=1, linestyle=":")
        for name, (colour, dash) in zip(("relu", "gelu", "selu", "tanh", "sigmoid"), STYLES, strict=True):
            values = [chi(name, x, gain(name)) for x in q]
            axes.plot(q, values, color=colour, linestyle=dash, label=name)
        axes.set(xscale="log", xlim=(1e-3, 1e3), ylim=(0, 2.6))
        finish(axes, title, "$q$ of the layer (gains are made for $q$ = 1)", words, "upper right")
    return figure


def gains() -> Figure:
    """The gains of many activations, and what each does in the other pass."""
    figure, left, right = canvas()
    place = np.arange(len(COMPARED))
    aims = {aim: [gain(name, aim) for name in COMPARED] for aim in ("forward", "backward", "critical")}
    for (aim, values), (colour, _), marker, aside in zip(
        aims.items(), STYLES, "osD", (-0.2, 0, 0.2), strict=False
    ):
        left.plot(place + aside, values, marker, color=colour, label=aim)
    left.set(yscale="log", ylim=(0.6, 20))
    left.set_yticks([0.7, 1, 2**0.5, 2, 4, 8, 16], ["0.7", "1", "√2", "2", "4", "8", "16"])
    forward = [chi_perp(name, 1.0, g) for name, g in zip(COMPARED, aims["forward"], strict=True)]
    backward = [q_map(name, 1.0, g) for name, g in zip(COMPARED, aims["backward"], strict=True)]
    right.axhline(1, color=GREY, linewidth=1)
    right.plot(place - 0.1, forward, "o", color=BLUE, label=f"forward gain: gradient, {CHI_PERP}")
    right.plot(place + 0.1, backward, "s", color=VERMILLION, label="backward gain: signal, $q'$ at $q$ = 1")
    right.set(yscale="log", ylim=(0.1, 20))
    right.set_yticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
    for axes in (left, right):
        axes.minorticks_off()
        axes.set_xticks(place, COMPARED, rotation=45, ha="right")
    finish(left, "Three aims, three gains", "", "gain (weights have std gain / √fan)", "upper left")
    finish(right, "What each costs in the other pass", "", "factor per layer, other pass", "upper left")
    return figure


def phases() -> Figure:
    """The phase diagrams of tanh and of gelu."""
    figure, left, right = canvas()
    for axes, name in ((left, "tanh"), (right, "gelu")):
        sigma_w, sigma_b = np.linspace(0.5, 3, 51), np.linspace(0, 1.2, 13)
        fixed = np.array([[q_star(name, w, b) for w in sigma_w] for b in sigma_b])
        chi = [
            [chi_perp(name, q, w) for q, w in zip(row, sigma_w, strict=True)]
            for row in np.minimum(fixed, 1e8)
        ]
        levels = np.linspace(-1.4, 1.4, 15)
        filled = axes.contourf(sigma_w, sigma_b, np.log2(chi), levels, cmap="PuOr", extend="both")
        axes.contour(sigma_w, sigma_b, np.isinf(fixed), [0.5], colors=GREY, linestyles="--")
        axes.set(xlim=(0.5, 3), ylim=(0, 1.2))
    bar = figure.colorbar(filled, ax=right, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.ax.set_yticklabels(["0.5", "0.71", "1", "1.41", "2"])
    bar.set_label(f"gradient's factor per layer at $q^*$, {CHI_PERP}", labelpad=2)
    line = [critical_point("tanh", q=q) for q in np.logspace(-3, 0.75, 40)]
    left.plot([1.0, *(p.sigma_w for p in line)], [0.0, *(p.sigma_b for p in line)], color="black")
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    left.text(0.56, 0.95, "ordered:\ngradients vanish,\ninputs become alike", fontsize=9, bbox=paper)
    left.text(2.02, 0.2, "chaotic:\ngradients explode,\ninputs part", fontsize=9, bbox=paper)
    at = (line[36].sigma_w, line[36].sigma_b)
    left.annotate("critical line", at, (2.05, 1.09), fontsize=9, bbox=paper, arrowprops={"arrowstyle": "-"})
    left.plot(5 / 3, 0, "s", color="black", clip_on=False, zorder=5)
    left.annotate("torch's gain 5/3", (5 / 3, 0), (8, 5), textcoords="offset points", fontsize=9)
    finish(left, "tanh: one line between vanishing and exploding", r"$\sigma_w$", r"$\sigma_b$", None)
    point = critical_point("gelu")
    right.plot(point.sigma_w, point.sigma_b, "o", color="black")
    at = (point.sigma_w, point.sigma_b)
    right.annotate("critical", at, (0.95, 0.22), fontsize=9, bbox=paper, arrowprops={"arrowstyle": "-"})
    right.text(1.72, 1.02, "right of the dashed line\n$q$ grows without bound", fontsize=9, bbox=paper)
    finish(right, "gelu: gradients last only where $q$ grows", r"$\sigma_w$", r"$\sigma_b$", None)
    return figure


def scales() -> Figure:
    """The depth scales of tanh along a line through its phase diagram, and maps beside what they promise."""
    figure, left, right = canvas()
    bias = 0.3
    edge = on_the_line(bias)
    steps = np.logspace(-2.5, 0, 14)
    fine = np.array([*(edge - 0.7 * steps)[::-1], *(edge + 1.2 * steps)])
    found = [depth_scales("tanh", w, bias) for w in fine]
    labels = {
        "gradient": r"gradient, $\xi_\nabla$",
        "correlation": r"correlation of two inputs, $\xi_c$",
        "second_moment": r"second moment, $\xi_q$",
    }
    for (field, label), (colour, dash) in zip(labels.items(), STYLES, strict=False):
        left.plot(fine, [getattr(s, field) for s in found], color=colour, linestyle=dash, label=label)
    left.axvline(edge, ymax=0.75, color=GREY, linewidth=1)
    left.set(yscale="log", ylim=(0.3, 3e4))
    words = "depth scale: layers for a factor e"
    finish(
        left,
        "Near the critical line signals travel deepest",
        rf"$\sigma_w$ (tanh, $\sigma_b$ = {bias})",
        words,
        "upper right",
    )
    for sigma_w, (colour, dash) in zip((0.8, 1.2, 2.0), STYLES, strict=False):
        fixed, end = q_star("tanh", sigma_w, bias), c_star("tanh", sigma_w, bias)
        promised = depth_scales("tanh", sigma_w, bias).correlation
        c = [0.5]
        for _ in range(24):
            c.append(correlation_map("tanh", c[-1], fixed, sigma_w, bias))
        gap = np.abs(np.array(c) - end)
        layers = np.arange(len(c))
        right.plot(layers, gap, "o", color=colour, markersize=3.5)
        label = rf"$\sigma_w$ = {sigma_w}: $c^*$ = {end:.2f}, $\xi_c$ = {promised:.1f}"
        right.plot(
            layers, gap[12] * np.exp((12 - layers) / promised), color=colour, linestyle=dash, label=label
        )
    right.set(yscale="log", ylim=(1e-6, 30), xlim=(0, 24))
    finish(
        right,
        r"Dots: the map; lines: $e^{-layers/\xi_c}$",
        "layers",
        "distance to the end, |$c$ − $c^*$|",
        "upper right",
    )
    return figure


def on_the_line(sigma_b: float) -> float:
    """σ_w of tanh's critical line at a σ_b, by halving."""
    low, high = 1.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2
        ordered = chi_perp("tanh", q_star("tanh", middle, sigma_b), middle) < 1
        low, high = (middle, high) if ordered else (low, middle)
    return low


def finite_width() -> Figure:
    """Predicted and simulated scatter of second moments at finite width."""
    figure, left, right = canvas()
    depths, draws = np.arange(1, 31), 1500
    for axes, name in ((left, "relu"), (right, "tanh")):
        for width, (colour, dash) in zip((32, 128, 512), STYLES, strict=False):
            predicted = [finite_width_fluctuation(name, width, int(depth)) for depth in depths]
            axes.plot(depths, predicted, color=colour, linestyle=dash, label=f"width {width}")
            found = simulated(name, width, len(depths), draws)
            axes.plot(depths[::3], found[::3], "o", color=colour, markersize=4)
        axes.plot([], [], "o", color=GREY, markersize=4, label=f"simulated, {draws} draws")
        axes.set(yscale="log", ylim=(0.03, 20), xlim=(0, 31))
        axes.set_yticks([0.03, 0.1, 0.3, 1, 3, 10], ["3 %", "10 %", "30 %", "100 %", "300 %", "1000 %"])
        axes.minorticks_off()
    words = "relative std of $q$ over draws of weights"
    finish(left, "relu: the scatter of each layer adds up", "layers", words, "upper left")
    finish(right, "tanh: saturation forgets it again", "layers", words, "upper left")
    return figure


def simulated(name: str, width: int, depth: int, draws: int) -> NDArray[np.float64]:
    """Relative std of the second moment after 1 to `depth` layers, over independent draws of all weights.

    Given a layer the next is exactly Gaussian, so no matrix is needed. The std is taken from
    the logs, √(e^var − 1), for the tails are too heavy for a sample std.
    """
    generator = np.random.default_rng(0)
    q, out = np.ones((draws, 1)), np.empty(depth)
    for layer in range(depth):
        h = generator.standard_normal((draws, width)) * np.sqrt(q)
        q = gain(name) ** 2 * np.mean(FUNCTIONS[name](h) ** 2, axis=1, keepdims=True)
        out[layer] = math.sqrt(math.expm1(np.log(q).var()))
    return out


PICTURES: dict[str, Callable[[], Figure]] = {
    "q_map": second_moment,
    "gains": gains,
    "susceptibilities": susceptibilities,
    "operating_points": operating,
    "correlation_map": correlation,
    "phases": phases,
    "depth_scales": scales,
    "finite_width": finite_width,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the PNG files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(PICTURES)}; all by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    arguments = parser.parse_args(argv)
    unknown = set(arguments.names) - set(PICTURES)
    if unknown:
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    for name in arguments.names or PICTURES:
        # The version of matplotlib would otherwise be written into the file.
        PICTURES[name]().savefig(arguments.out / f"{name}.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
