"""How much faster `goodinit.compare` trains a network than a plain PyTorch loop does, per network.

The task of the laboratory: 700 points, batches of 10, networks 2-4-4-4-4-1, SGD, one thread, both with
the same evaluations. Both start from the same weights and see the same batches; the largest relative
difference of their losses at the end is printed. A round takes one plain network, then compare with 32
and with 256 (8 plans and rates × 32 seeds): ratios are of medians of CPU time. All of `compare` counts,
checks, tracing and statistics included, in a process that has trained such networks before; the first
call, which also compiles, is given beside it in wall time.

``python benchmarks/compare_speed.py [passes] [rounds]`` (190 and 3) prints each floor with pass or FAIL and
writes ``results/compare_speed.json``.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from _machine import cpu_name, save
from torch import nn

from goodinit.comparing import compare
from goodinit.comparing.batches import batches
from goodinit.comparing.datasets import load
from goodinit.comparing.members import built
from goodinit.plans.build import plan

FLOORS = {32: 100.0, 256: 400.0}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU}
LR = 0.005
PLAN = "xavier_normal"
EVALUATIONS = 19


def network(activation: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Return what builds a network 2-4-4-4-4-1."""

    def build() -> nn.Module:
        layers: list[nn.Module] = [nn.Linear(2, 4), activation()]
        for _ in range(3):
            layers += [nn.Linear(4, 4), activation()]
        return nn.Sequential(*layers, nn.Linear(4, 1))

    return build


def plain(build: Callable[[], nn.Module], seed: int, steps: int) -> list[float]:
    """Train one network as everybody does; the test loss at the end last."""
    data = load("s4")
    model = plan(build(), PLAN).apply_(built(build, seed), seed=seed)
    rule = torch.optim.SGD(model.parameters(), lr=LR)
    order = batches([seed], len(data.train_x), 10)(0, steps)[0]
    found = []
    for step, batch in enumerate(order):
        rule.zero_grad()
        nn.functional.mse_loss(model(data.train_x[batch]), data.train_y[batch]).backward()
        rule.step()
        if (step + 1) % (steps // EVALUATIONS) == 0:
            with torch.no_grad():
                nn.functional.mse_loss(model(data.train_x), data.train_y).item()
                found.append(nn.functional.mse_loss(model(data.test_x), data.test_y).item())
    return found


def together(build: Callable[[], nn.Module], members: int, steps: int) -> dict[int, float]:
    """Train many; the test loss at the end of those that `plain` trains too, by seed."""
    wide = {32: ([PLAN], [LR]), 256: ([PLAN, "torch"], [LR, LR / 2, LR / 4, LR / 8])}[members]
    made = compare(
        build, wide[0], "s4", seeds=32, steps=steps, lr=wide[1], batch_size=10, evaluations=EVALUATIONS,
        engine="compiled", progress=False,
    )  # fmt: skip
    return {run.seed: run.test[-1] for run in made.runs if (run.plan, run.lr) == (PLAN, LR)}


def timed(clock: Callable[[], float], call: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and the result of a call."""
    began = clock()
    result = call()
    return clock() - began, result


def rows(passes: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each activation and number of members."""
    steps, found = passes * 70, []
    for name, activation in ACTIVATIONS.items():
        build = network(activation)
        first, _ = timed(time.monotonic, lambda: together(build, 32, steps))  # noqa: B023
        plain(build, 0, 70 * EVALUATIONS)
        times: dict[int, list[float]] = {1: [], 32: [], 256: []}
        apart = 0.0
        for seed in range(rounds):
            seconds, alone = timed(time.thread_time, lambda: plain(build, seed, steps))  # noqa: B023
            times[1].append(seconds)
            for members in FLOORS:
                seconds, losses = timed(time.thread_time, lambda: together(build, members, steps))  # noqa: B023
                times[members].append(seconds)
                apart = max(apart, abs(losses[seed] - alone[-1]) / alone[-1])
        one = statistics.median(times[1])
        for members, floor in FLOORS.items():
            ratio = one / (statistics.median(times[members]) / members)
            found.append(
                {
                    "activation": name,
                    "members": members,
                    "steps": steps,
                    "plain_microseconds_per_step": one / steps * 1e6,
                    "seconds": statistics.median(times[members]),
                    "first_call_seconds": first,
                    "ratio": ratio,
                    "largest_relative_difference": apart,
                    "floor": floor,
                    "passed": ratio >= floor and apart < 1e-3,
                }
            )
            print(
                f"{name:8} {members:4} members: {ratio:6.0f}× per member (floor {floor:.0f}), "
                f"{found[-1]['seconds']:.2f} s for {steps} steps, plain {one:.2f} s for one, "
                f"first call {first:.1f} s, "
                f"same result to {apart:.1e}  {'pass' if found[-1]['passed'] else 'FAIL'}",
                flush=True,
            )
    return found


def main() -> int:
    """Measure, print and save; 1 if a floor is missed."""
    torch.set_num_threads(1)
    passes = int(sys.argv[1]) if len(sys.argv) > 1 else 190
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(f"{cpu_name()}, one thread")
    with tempfile.TemporaryDirectory() as cache:
        # So that the first call compiles.
        os.environ["XDG_CACHE_HOME"] = cache
        found = rows(passes, rounds)
    save("compare_speed", {"rows": found})
    return 0 if all(row["passed"] for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
