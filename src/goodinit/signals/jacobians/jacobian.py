"""Singular values of a network's Jacobian by randomized methods; the matrix is never formed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.graph.places import unwrapped
from goodinit.records import JacobianSpectrum
from goodinit.signals.jacobians.lanczos import bidiagonalize, merged_nodes, quadrature
from goodinit.signals.jacobians.linearized import linearized
from goodinit.signals.probing.untouched import kept_model

__all__ = ["jacobian_spectrum"]

_NODES = 200  # of the density, a picture's resolution


def jacobian_spectrum(
    model: nn.Module,
    batch: Any = None,
    *,
    start: str = "input",
    end: str = "output",
    probes: int = 8,
    steps: int = 24,
    seed: int = 0,
) -> JacobianSpectrum:
    """Return the singular values of the Jacobian J = ∂end/∂start, averaged over the samples of a batch.

    tr(JᵀJ)/n ≈ mean of ‖J v‖² over random unit vectors v (Hutchinson), and the density from
    Golub–Kahan bidiagonalization started at the same v (stochastic Lanczos quadrature).

    Each step costs two products, J v and Jᵀ u, for all samples at once. J is that of one sample.
    Where samples influence each other (batch norm in training mode, or a first dimension that
    does not count samples), which is tested, the whole batch is taken as one sample and
    `joint` is set. All vectors of one probe are kept: steps × (inputs + outputs) float64 for each
    sample. The model is left as it was.

    Args:
        model: any module with materialised parameters, in the mode it is in.
        batch: as for `probe`; None makes one.
        start: ``"input"``, the first floating input; or a layer's name, its output at its first call.
        end: ``"output"``, the first floating output; or a layer's name, its output at its last call.
        probes: random vectors for each sample, at least 2.
        steps: products with J for each of them; more resolve the density's edges better.
        seed: of the random vectors, a made batch and dropout masks.

    Returns:
        The spectrum of the min(inputs, outputs) singular values that need not be zero.

    Raises:
        UnknownNameError: if there is no layer of that name.
        ArgumentError: if the end does not depend on the start, or a number is out of range.
        ExampleError: if the model rejects the batch, or none can be made.

    >>> layer = nn.Linear(64, 64, bias=False)
    >>> _ = nn.init.orthogonal_(layer.weight)
    >>> found = jacobian_spectrum(layer)
    >>> round(found.mean_square, 4), round(found.largest, 4)
    (1.0, 1.0)

    Source: Pennington, Schoenholz and Ganguli 2017 (what the spectrum says); Hutchinson 1990;
    Ubaru, Chen and Saad 2017.
    """
    if not isinstance(model, nn.Module):
        raise WrongTypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    for name, value, least in (("probes", probes, 2), ("steps", steps, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArgumentError(f"{name}: expected an integer of at least {least}, got {value!r}")
    model = unwrapped(model)
    generator = torch.Generator().manual_seed(seed)
    with (
        kept_model(model),
        linearized(model, batch, start, end, seed) as jacobian,
    ):
        # The smaller side has no singular values that are zero for want of dimensions.
        across, down = jacobian.multiply, jacobian.transposed
        size = min(jacobian.inputs, jacobian.outputs)
        if jacobian.outputs < jacobian.inputs:
            across, down = down, across
        values, weights, squares = [], [], []
        for _ in range(probes):
            first = torch.randn(jacobian.samples, size, generator=generator, dtype=torch.float64)
            found = bidiagonalize(across, down, first, min(steps, size))
            squares.append(found[:, 0, 0] ** 2 * size / jacobian.inputs)
            nodes, shares = quadrature(found)
            values.append(nodes)
            weights.append(shares)
    square = torch.stack(squares)
    error = (square.var(dim=0).mean() / (probes * jacobian.samples)).sqrt()
    nodes, shares = torch.stack(values), torch.stack(weights)
    merged = merged_nodes(nodes, shares, _NODES)
    return JacobianSpectrum(
        start=start,
        end=end,
        inputs=jacobian.inputs,
        outputs=jacobian.outputs,
        mean_square=float(square.mean()),
        mean_square_error=float(error),
        largest=float(nodes.max()),
        values=merged[0],
        weights=merged[1],
        probes=probes,
        samples=jacobian.samples,
        joint=jacobian.joint,
    )
