"""How often do intervals of the median cover it, by order statistics and by the percentile bootstrap?

For each law and number of seeds, the share of 95 % intervals that hold the law's median, and the bootstrap's
mean width over that of order statistics (of finite laws). The shares' standard error is at most 0.5 points.

    python benchmarks/median_intervals.py [--samples 4000] [--resamples 2000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from _machine import save

from goodinit.comparing.statistics.intervals import median_intervals

SEEDS = (6, 7, 8, 12, 13, 23, 32, 33)
LAWS: dict[str, tuple[Callable[[np.random.Generator, Any], Any], float]] = {
    "normal": (lambda source, size: source.standard_normal(size), 0.0),
    "log-normal": (lambda source, size: source.lognormal(size=size), 1.0),
    "Cauchy": (lambda source, size: source.standard_cauchy(size), 0.0),
}


def bootstrap(samples: Any, resamples: int, source: np.random.Generator) -> tuple[Any, Any]:
    """The quantiles 2.5 and 97.5 % of the medians of resamples."""
    ends = []
    for sample in samples:
        medians = np.median(sample[source.integers(len(sample), size=(resamples, len(sample)))], 1)
        ends.append(np.quantile(medians, (0.025, 0.975)))
    low, high = np.array(ends).T
    return low, high


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--resamples", type=int, default=2000)
    given = parser.parse_args()
    rows = []
    print(f"{'law':12} {'seeds':>5} {'here':>6} {'bootstrap':>9} {'width':>6}")
    for law, (draw, median) in LAWS.items():
        for count in SEEDS:
            source = np.random.default_rng(count)
            samples = draw(source, (given.samples, count))
            _, *ours, _ = median_intervals(samples)
            theirs = bootstrap(samples, given.resamples, source)
            here, other = (float(np.mean((low <= median) & (median <= high))) for low, high in (ours, theirs))
            width = (
                None
                if law == "Cauchy"
                else float(np.mean(theirs[1] - theirs[0]) / np.mean(ours[1] - ours[0]))
            )
            words = "" if width is None else f"{width:6.2f}"
            print(f"{law:12} {count:5} {here:6.1%} {other:9.1%} {words}", flush=True)
            rows.append({"law": law, "seeds": count, "here": here, "bootstrap": other, "width": width})
    save("median_intervals", {"samples": given.samples, "resamples": given.resamples, "rows": rows})


if __name__ == "__main__":
    main()
