"""The gates of nn.RNN, LSTM, GRU and their cells, read from the module and not from its operations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from torch import nn

from goodinit.graph.expressions import Elementwise
from goodinit.graph.flow import Flow
from goodinit.graph.layout import Span
from goodinit.graph.states import Leaf, layer_states, recurrent_kind
from goodinit.graph.tape import Node
from goodinit.graph.uses import Recurrence, Sink, Source, WeightUse
from goodinit.theory import activation

__all__ = ["between", "recurrent_names", "recurrent_uses"]

# The order in which torch stacks the gates along the first dimension.
_GATES = {
    "LSTM": ("input", "forget", "cell", "output"),
    "GRU": ("reset", "update", "new"),
    "RNN": ("",),
}
_WEIGHT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?")


def recurrent_names(module: nn.Module, label: str, names: dict[int, str]) -> dict[str, tuple[str, ...]]:
    """Return the canonical names behind each weight attribute, those of its parametrization if it has one.

    Args:
        module: an ``nn.RNNBase`` or ``nn.RNNCellBase``.
        label: its canonical name.
        names: canonical names by the id of the parameter.
    """
    found: dict[str, tuple[str, ...]] = {}
    for attribute, parameter in module._parameters.items():
        if parameter is not None:
            found[attribute] = (names[id(parameter)],)
    parametrized = module._modules.get("parametrizations")
    for attribute, inner in parametrized._modules.items() if parametrized is not None else ():
        assert inner is not None
        found[attribute] = tuple(names[id(p)] for p in inner.parameters())
    return found


def recurrent_uses(
    module: nn.Module,
    names: dict[str, tuple[str, ...]],
    source: Source,
    node: Node,
    carried: Callable[[int], Callable[[Leaf], float]],
) -> Iterator[WeightUse]:
    """Yield the uses of a recurrent module's parameters, gate by gate.

    Args:
        module: an ``nn.RNNBase`` or ``nn.RNNCellBase``.
        names: canonical names of the parameters behind each of its attributes.
        source: what feeds the module.
        node: the module's call.
        carried: for a layer, the second moment of what it passes on to the next.
    """
    gates = _GATES[recurrent_kind(module)]
    hidden, inputs = int(module.hidden_size), int(module.input_size)  # type: ignore[arg-type]
    state = int(getattr(module, "proj_size", 0)) or hidden
    both = 2 if getattr(module, "bidirectional", False) else 1
    bend = str(getattr(module, "nonlinearity", "tanh"))
    for attribute, found in names.items():
        if not _WEIGHT.fullmatch(attribute):
            continue  # a subclass's own, or a part of which a hook makes the weight
        reverse = attribute.endswith("_reverse")
        stem, _, level = attribute.removesuffix("_reverse").partition("_l")
        layer = int(level) if level else 0
        below = source if layer == 0 else Source("recurrence", found, moment=carried(layer - 1))
        part = {"ih": "input", "hh": "hidden", "hr": "projection"}[stem.split("_")[1]]
        into = inputs if layer == 0 else state * both
        fan_in = {"input": into, "hidden": state, "projection": hidden}[part]
        rows = state if part == "projection" else hidden
        for at, gate in enumerate(gates if part != "projection" else ("",)):
            vector = stem.startswith("bias")
            shape = (rows * (len(gates) if part != "projection" else 1),) + (() if vector else (fan_in,))
            block = (Span(at * rows, rows), *(() if vector else (Span(0, fan_in),)))
            function = "tanh" if gate in ("cell", "new") else "sigmoid" if gate else bend
            sink = Sink("gate" if gate else "weight", (), None if part == "projection" else _bent(function))
            for name in found:
                yield WeightUse(
                    name,
                    shape,
                    "shift" if vector else "matmul",
                    1.0 if vector else float(fan_in),
                    1.0 if vector else float(rows),
                    below if part == "input" else Source("recurrence", found),
                    (sink,),
                    block=block if len(gates) > 1 and part != "projection" else None,
                    contracted=() if vector else (1,),
                    output=(0,),
                    module=node.module,
                    index=node.index,
                    recurrence=Recurrence(part, gate, layer, reverse),
                    of=names.get(attribute.replace("bias", "weight"), ()) if vector else (),
                )


def between(flow: Flow, node: Node) -> Callable[[int], Callable[[Leaf], float]]:
    """Return, for the layers of a recurrent module, the second moment of what each passes on."""

    def carried(layer: int) -> Callable[[Leaf], float]:
        def moment(leaf: Leaf) -> float:
            moments = layer_states(flow, node, leaf)[layer].moments
            return float(f"{sum(moments) / len(moments):.2g}")

        return moment

    return carried


def _bent(name: str) -> Elementwise:
    found = activation(name)
    return Elementwise(found.name, True, found)
