"""Which examples a step sees: a pure function of the seed and the step, the same for every plan and rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from goodinit.rng import derive_key, fill_uniform_

__all__ = ["batches"]

#: Numbers that are drawn by one call of the generator: enough to make its cost per pass small.
BLOCK = 2**16


def batches(seeds: Sequence[int], examples: int, size: int) -> Callable[[int, int], torch.Tensor]:
    """Return the function (first, last) -> batches of the steps first … last − 1.

    A pass shuffles all examples and cuts them into batches; the remainder that fills no batch sits
    this pass out. Pass p of a seed sorts a row of uniform numbers drawn under the key of
    (seed, "batches", the block that p is in), so any step can be had without the ones before it.

    Args:
        seeds: one row of the result each.
        examples: how many there are.
        size: batch size; one that is not below `examples` takes them all, in order.

    Returns:
        A function whose results are int32 of shape (seeds, steps, size): positions of examples.

    >>> order = batches([0, 5], 70, 10)
    >>> order(0, 7)[0].flatten().sort().values.equal(torch.arange(70, dtype=torch.int32))
    True
    >>> order(3, 9)[1, 2].equal(order(5, 6)[1, 0])
    True
    """
    whole = torch.arange(examples, dtype=torch.int32)
    each, rows = max(1, examples // size), max(1, BLOCK // examples)
    # The block that a seed was in last: consecutive calls mostly stay in it.
    latest: dict[int, tuple[int, np.ndarray]] = {}

    def passes(seed: int, start: int, end: int) -> np.ndarray:
        found = []
        for block in range(start // rows, (end - 1) // rows + 1):
            if latest.get(seed, (-1,))[0] != block:
                latest[seed] = (block, _shuffled(seed, block, rows, examples))
            begin = block * rows
            found.append(latest[seed][1][max(start - begin, 0) : end - begin])
        return np.concatenate(found)

    def order(first: int, last: int) -> torch.Tensor:
        if size >= examples:
            return whole.expand(len(seeds), last - first, examples)
        start, end = first // each, (last - 1) // each + 1
        cut = [passes(seed, start, end)[:, : each * size].reshape(-1, size) for seed in seeds]
        offset = first - start * each
        return torch.from_numpy(np.stack([row[offset : offset + last - first] for row in cut]))

    return order


def _shuffled(seed: int, block: int, rows: int, examples: int) -> np.ndarray:
    """Return the shuffled examples of one block of passes."""
    numbers = torch.empty(rows, examples, dtype=torch.float64)
    fill_uniform_(numbers, derive_key(seed, f"batches/{block}"), 0.0, 1.0)
    return np.argsort(numbers.numpy(), axis=1).astype(np.int32)
