"""Are the drawn values what they claim to be? A billion draws of every law, and what must not be related.

For each law: Kolmogorov-Smirnov distance on a grid of 65,536 points, and mean, variance, third and fourth
moment against the law's own. For the normal law: how many values lie beyond 4, 5 and 6 sigma, and
correlations between elements 1 to 4 places apart, between keys of neighbouring seeds, and between names
that differ in one digit. Every check is a p-value; below ``ALARM`` it fails, so that a run of right
values fails once in ten thousand runs. The same checks must refuse values with a planted fault.

``python benchmarks/rng_quality.py [draws]`` writes ``results/rng_quality.json``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _machine import save
from scipy import stats

from goodinit.rng import Region, derive_key, fill_normal_, fill_truncated_normal_, fill_uniform_, native

ALARM = 1e-6
CHUNK = 1 << 21
GRID = 1 << 16


@dataclass(frozen=True)
class Law:
    """A law, how it is drawn, and its exact distribution."""

    fill: Callable[..., torch.Tensor]
    parameters: tuple[float, ...]
    exact: Any
    edges: tuple[float, float]  # what the grid spans


LAWS = {
    "uniform [-1, 1]": Law(fill_uniform_, (-1.0, 1.0), stats.uniform(-1, 2), (-1.0, 1.0)),
    "normal": Law(fill_normal_, (0.0, 1.0), stats.norm(), (-7.0, 7.0)),
    "truncated normal [-2, 2]": Law(
        fill_truncated_normal_, (0.0, 1.0, -2.0, 2.0), stats.truncnorm(-2, 2), (-2.0, 2.0)
    ),
    "truncated normal [2, 4]": Law(
        fill_truncated_normal_, (0.0, 1.0, 2.0, 4.0), stats.truncnorm(2, 4), (2.0, 4.0)
    ),
}


def chunks(law: Law, key: int, draws: int) -> Iterator[torch.Tensor]:
    """The first values of a key, piece by piece."""
    for start in range(0, draws, CHUNK):
        count = min(CHUNK, draws - start)
        yield law.fill(torch.empty(count), key, *law.parameters, region=Region((draws,), (start,), (count,)))


def two_sided(z: float) -> float:
    """p-value of a standard normal statistic."""
    return float(2 * stats.norm.sf(abs(z)))


def examine(
    law: Law, draws: int, fault: Callable[[torch.Tensor], torch.Tensor] = lambda x: x
) -> dict[str, Any]:
    """Distance, moments, tails and neighbours of one law's values."""
    low, high = law.edges
    counts = np.zeros(GRID + 2, np.int64)
    power_sums = np.zeros(4)
    lags = np.zeros(4)
    tails = dict.fromkeys((4, 5, 6), 0)
    mean, std = float(law.exact.mean()), float(law.exact.std())
    for values in chunks(law, derive_key(6, "quality"), draws):
        x = fault(values)
        # Floors of the place on the grid; 0 and GRID + 1 hold what lies outside.
        place = ((x.double() - low) * (GRID / (high - low))).floor_().clamp_(-1, GRID).to(torch.int64) + 1
        counts += np.bincount(place.numpy(), minlength=GRID + 2)
        z = (x.double() - mean) / std
        square = z * z
        power_sums += [
            z.sum().item(),
            square.sum().item(),
            torch.dot(square, z).item(),
            torch.dot(square, square).item(),
        ]
        lags += [torch.dot(z[:-lag], z[lag:]).item() for lag in (1, 2, 3, 4)]
        for sigma in tails:
            tails[sigma] += int((x.abs() > sigma).sum())
    grid = low + (high - low) / GRID * np.arange(GRID + 1)
    distance = float(np.abs(np.cumsum(counts)[:-1] / draws - law.exact.cdf(grid)).max())
    out: dict[str, Any] = {
        "ks": {"distance": distance, "p": float(stats.kstwobign.sf(distance * math.sqrt(draws)))}
    }
    for order, total in enumerate(power_sums, 1):
        wanted, spread = _moment(law, order), _moment(law, 2 * order)
        error = math.sqrt((spread - wanted**2) / draws)
        out[f"moment {order}"] = {
            "found": total / draws,
            "exact": wanted,
            "p": two_sided((total / draws - wanted) / error),
        }
    for lag, total in enumerate(lags, 1):
        out[f"neighbours {lag} apart"] = {
            "correlation": total / draws,
            "p": two_sided(total / math.sqrt(draws)),
        }
    if law.fill is fill_normal_:
        for sigma, count in tails.items():
            expected = draws * 2 * stats.norm.sf(sigma)
            p = min(1.0, 2 * min(stats.poisson.cdf(count, expected), stats.poisson.sf(count - 1, expected)))
            out[f"beyond {sigma} sigma"] = {"found": count, "expected": expected, "p": float(p)}
    return out


def _moment(law: Law, order: int) -> float:
    """The exact standardized moment, by quadrature where SciPy has no formula."""
    mean, std = float(law.exact.mean()), float(law.exact.std())
    low, high = law.exact.support()
    points, weights = np.polynomial.legendre.leggauss(400)
    low, high = max(low, -14.0), min(high, 14.0)
    x = (low + high) / 2 + (high - low) / 2 * points
    return float((weights * ((x - mean) / std) ** order * law.exact.pdf(x)).sum() * (high - low) / 2)


def unrelated(count: int = 1 << 18, pairs: int = 64) -> dict[str, Any]:
    """Correlations between the values of neighbouring seeds, and of names that differ in one digit."""
    out = {}
    for kind, key in (
        ("seeds", lambda n: derive_key(n, "layers.0.weight")),
        ("names", lambda n: derive_key(0, f"layers.{n}.weight")),
        ("keys", lambda n: n),
    ):
        draws = torch.stack([fill_normal_(torch.empty(count), key(n), 0.0, 1.0) for n in range(pairs)])
        r = torch.corrcoef(draws.double())[tuple(torch.triu_indices(pairs, pairs, 1))]
        largest = r.abs().max().item()
        p = -math.expm1(r.numel() * math.log1p(-two_sided(largest * math.sqrt(count))))
        out[f"{kind}: {r.numel()} pairs"] = {"largest correlation": largest, "p": p}
    return out


def failures(report: dict[str, dict[str, Any]]) -> list[str]:
    """Names of the checks below the alarm."""
    return [
        f"{law}: {check}"
        for law, checks in report.items()
        for check, row in checks.items()
        if row["p"] < ALARM
    ]


def main(draws: int) -> int:
    """Run and keep everything; 1 where a check fails or a planted fault goes unseen."""
    report = {name: examine(law, draws) for name, law in LAWS.items()}
    report["unrelated"] = unrelated()
    few = min(draws, 20 * CHUNK)
    faults: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "std 0.2 % too large": lambda x: x * 1.002,
        "no value beyond 4.5 sigma": lambda x: x.clamp(-4.5, 4.5),
        "each value repeated once": lambda x: x[::2].repeat_interleave(2),
    }
    planted = {name: failures({"": examine(LAWS["normal"], few, fault)}) for name, fault in faults.items()}
    failed = failures(report)
    print(f"{draws:,} draws a law, kernels {native.instruction_set()}")
    for law, checks in report.items():
        for check, row in checks.items():
            print(f"  {law:26} {check:22}", {k: float(f"{v:.6g}") for k, v in row.items()})
    print("failed:", failed or "none", "| planted faults caught by:", planted)
    save(
        "rng_quality",
        {
            "draws": draws,
            "kernels": native.instruction_set(),
            "alarm": ALARM,
            "checks": report,
            "failed": failed,
            "planted": planted,
        },
    )
    return int(bool(failed) or not all(planted.values()))


if __name__ == "__main__":
    sys.exit(main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000_000))
