"""`trace`: run a model once and say how it uses every parameter."""

from __future__ import annotations

from typing import Any

from torch import nn

from goodinit.graph.assembling import assemble
from goodinit.graph.building import build
from goodinit.graph.graph import Graph
from goodinit.graph.interpolating import interpolated
from goodinit.graph.places import canonical_modules
from goodinit.graph.running import run
from goodinit.graph.unsharded import unsharded

__all__ = ["trace"]


def trace(model: nn.Module, example: Any = None) -> Graph:
    """Return which operation uses which parameter, with its fans, and what feeds and follows it.

    The model runs once, under fake tensors that have no memory, and the operations
    that reach the dispatcher are recorded. Fans are counted from the contraction:

        fan_in = sizes summed over,  fan_out = sizes of the result that the input has not

    The model, its buffers and the random generators are left as they were. Of a sharded model
    the network behind it is run, on this process alone (see `goodinit.graph.unsharded`).

    Args:
        model: any module, compiled, on any device, meta included.
        example: a tensor, a tuple or list of arguments, a mapping of keyword arguments,
            or a zero-argument callable that returns one of these; None makes one for the
            layer that data meets first.

    Returns:
        The graph; print it for a table.

    Raises:
        WrongTypeError: if the model is no module or the example none of these.
        ArgumentError: if a lazy parameter has no shape yet.
        ExampleError: if the model rejects the example, or none that was made fits.

    >>> import torch
    >>> graph = trace(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), torch.zeros(4, 3))
    >>> [(use.name, use.fan_in, use.fan_out, use.sink.kind) for use in graph if use.contracts]
    [('0.weight', 3.0, 5.0, 'weight'), ('2.weight', 5.0, 2.0, 'output')]
    >>> graph["2.weight"][0].source.activation.name
    'relu'

    Source: counting; the operations are those of ATen, as the dispatcher sees them.
    """
    if isinstance(model, nn.Module):  # `run` refuses what is none
        model = unsharded(model)
    done = run(model, example)
    owners = {place.name: place.uses[0].module_name for place in done.places}
    names = {id(place.parameter): place.name for place in done.places}
    buffers = {
        id(buffer): module_name
        for module_name, module, _ in canonical_modules(model)
        for _, buffer in module.named_buffers(recurse=False)
    }
    flow = build(interpolated(done.tape), owners, buffers)
    found = assemble(flow, names)
    by_name: dict[str, list[Any]] = {place.name: [] for place in done.places}
    for use in found:
        by_name[use.name].append(use)
    streams: dict[int, int] = {}
    for use in found:
        if use.residual is not None:
            streams[use.residual.stream] = use.residual.of
    return Graph(
        type(model).__name__,
        {name: tuple(uses) for name, uses in by_name.items() if uses},
        tuple(name for name, uses in by_name.items() if not uses),
        {place.name: place.aliases for place in done.places if place.aliases},
        max((root.depth for root in flow.roots.values()), default=0),
        tuple(streams[key] for key in sorted(streams)),
        done.how,
        done.notes,
        done.example,
    )
