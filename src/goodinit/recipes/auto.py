"""`auto`: the initialization that theory calls for, from the traced network itself."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

from goodinit.errors import UnknownNameError, did_you_mean
from goodinit.graph import Graph, Place, Use, WeightUse
from goodinit.initializers import (
    ChronoBias,
    Constant,
    DeltaOrthogonal,
    Initializer,
    KaimingNormal,
    LecunNormal,
    LooksLinear,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
)
from goodinit.recipes.announcing import announcing
from goodinit.recipes.decision import Decision, Recipe, Rule
from goodinit.recipes.elementwise import expert_bias, step_bias
from goodinit.recipes.gains import branch_gain
from goodinit.recipes.layers import Scheme, layer_rules
from goodinit.recipes.lookups import lookup
from goodinit.recipes.making import drawn_for, only_scaled, put_out
from goodinit.recipes.mirrors import activation_like
from goodinit.recipes.staying import shifted, with_biases
from goodinit.recipes.traced import Siblings, blocks_or_one, by_use
from goodinit.recipes.travel import ORTHOGONAL_FROM, Travel, scale
from goodinit.theory import moments

__all__ = ["AUTO", "auto"]

Goal = Literal["critical", "forward", "backward"]
Draws = Literal["normal", "uniform", "truncated_normal", "orthogonal"]

# Untraced, nothing is known of nonlinearities but that most are rectifiers.
_UNTRACED = Scheme(
    KaimingNormal("relu"),
    "the model was not traced, so the layer's type decides: He's gain √2 for a rectifier",
    LecunNormal(),
    "no rectifier follows, so gain 1",
    recurrent=Orthogonal(),
)

_UNREACHED = "the example shows no use of it, so the layer's type decides: He's gain √2 for a rectifier"


def auto(
    objective: Goal = "critical",
    draws: Draws | None = None,
    *,
    forget_bias: float = 1.0,
    horizon: float | None = None,
) -> Recipe:
    """Return the recipe ``"auto"`` with other settings.

    Every weight gets std = √(q / (m·fan_in)): m is the second moment that arrives, through
    the activation before it; q the one that it should put out (see `goodinit.recipes.travel`).

    Args:
        objective: ``"critical"`` holds the forward second moment where gradients keep
            their size too; ``"forward"`` holds it at 1; ``"backward"`` holds gradients,
            std = √(1/(E[φ′²]·fan_out)).
        draws: ``"normal"``, ``"uniform"``, ``"truncated_normal"`` or ``"orthogonal"``;
            None takes orthogonal maps in plain chains of 20 layers and more, and from 50
            mirrored ones (`LooksLinear`) for what makes inputs alike, at any length for what no
            scale holds, from 100 delta-orthogonal kernels; else normal draws.
        forget_bias: sum of the two forget-gate biases of an LSTM.
        horizon: longest memory of LSTM and GRU in steps: their gate biases are then drawn
            for it (`ChronoBias`); `forget_bias` is not used.

    Raises:
        UnknownNameError: for an unknown objective or kind of draws.
        ArgumentError: for a horizon of 2 steps or less.

    >>> auto("backward").name
    'auto'

    Source: Poole et al. (2016); Schoenholz et al. (2017); He et al. (2015); for residual
    branches Zhang, Dauphin & Ma (2019) and Radford et al. (2019).
    """
    for name, value, allowed in (("objective", objective, get_args(Goal)), ("draws", draws, get_args(Draws))):
        if value not in allowed and not (name == "draws" and value is None):
            raise UnknownNameError(
                f"auto: {name} must be one of {', '.join(allowed)}, found {value!r}"
                f"{did_you_mean(str(value), allowed)}"
            )
    if horizon is not None:
        ChronoBias(horizon)  # refuses what is no horizon
    scheme = dataclasses.replace(_UNTRACED, forget_bias=forget_bias, horizon=horizon)

    def traced(graph: Graph) -> tuple[Rule, ...]:
        graph = with_biases(graph)
        travel, siblings = Travel(graph, objective, draws is None, forget_bias, horizon), Siblings.of(graph)

        def arriving(name: str) -> float:
            use = graph.principal(name)
            return 1.0 if use is None else travel.arriving(use)[0]

        unreached = dataclasses.replace(scheme, weight_why=_UNREACHED, arriving=arriving)

        def choose(use: WeightUse) -> tuple[Initializer, str]:
            return _chosen(travel, use, draws)

        def weights(place: Place, registered: Use) -> Decision | None:
            if _recurrent(graph, place):
                return None
            made = lookup(travel, place, registered)
            return made or announcing(travel, place, blocks_or_one(graph, place, choose, siblings))

        def biases(place: Place, registered: Use) -> Decision | None:
            return (
                _mirrored_bias(travel, place)
                or expert_bias(graph, place, registered)
                or step_bias(graph, place, registered)
            )

        def gains(place: Place, registered: Use) -> Decision | None:
            return branch_gain(travel, others, place, registered)

        others = (*layer_rules(unreached), *by_use(scheme, graph))
        return biases, weights, gains, *others

    return Recipe(
        "auto",
        "theory's choice for each weight, from its use in the network",
        layer_rules(scheme),
        traced,
    )


def _recurrent(graph: Graph, place: Place) -> bool:
    return any(use.recurrence is not None for use in graph[place.name])


def _chosen(travel: Travel, use: WeightUse, draws: Draws | None) -> tuple[Initializer, str]:
    if travel.objective == "backward" and use.source.kind == "weight":
        return _backward(travel, use, draws)
    arriving, source = travel.arriving(use)
    wanted, reason = travel.wanted(use, use.sink)
    std = drawn_for(use, scale(wanted, arriving, use.fan_in) ** 2)
    made = put_out(use, wanted, arriving)
    size = "" if math.isclose(arriving, 1.0, rel_tol=1e-6) else f" (second moment {arriving:.3g})"
    drawn = _drawn(std, travel, use, draws)
    if isinstance(drawn, LooksLinear):
        return drawn, travel.mirrored_why(use)
    if not math.isclose(made, wanted, rel_tol=0.1):
        reason += f" would be {wanted:.3g}, but what the model makes of the weight has a size of its own"
    return drawn, f"reads {source}{size}, puts out {made:.3g}: {reason}"


def _mirrored_bias(travel: Travel, place: Place) -> Decision | None:
    for use in travel.graph[place.name]:
        bias = travel.mirrored_bias(weight) if (weight := shifted(use)) is not None else None
        if bias is not None:
            # Zeros are no choice against it: the mirrored weights beside it need this bias.
            why = f"mirrored pairs of units run {bias:g} ± the signal, where their activation has a slope"
            return Decision(Constant(bias), why, default=0.0)
    return None


def _backward(travel: Travel, use: WeightUse, draws: Draws | None) -> tuple[Initializer, str]:
    slope = 1.0
    if use.sink.activation is not None:
        slope = moments(activation_like(use.sink.activation), 1.0).derivative_second_moment
    std = drawn_for(use, scale(1.0, slope, use.fan_out) ** 2)
    name = use.sink.activation.name if use.sink.activation else "identity"
    why = (
        f"holds gradients: {use.fan_out:g} outputs send back through {name} (mean squared slope {slope:.3g})"
    )
    return _drawn(std, travel, use, draws), why


# A random kernel keeps norms in the mean over positions alone, which a hundred layers show
# (Xiao et al. 2018, figure 2), so there the kernel is an orthogonal map at its centre.
_DELTA_FROM = 100


def _drawn(std: float, travel: Travel, use: WeightUse, draws: Draws | None) -> Initializer:
    if draws is None:
        deep = travel.length(use) >= ORTHOGONAL_FROM and len(use.block_shape) >= 2 and not use.batch
        deep = deep and only_scaled(use)
        draws = "orthogonal" if deep else "normal"
        mirror = travel.mirror(use)
        if mirror is not None:
            return LooksLinear(travel.mirrored_gain(use, mirror), mirror)
        plain_kernel = use.op == "convolution" and use.groups == 1 and set(use.stride) <= {1}
        if deep and plain_kernel and travel.length(use) >= _DELTA_FROM:
            outputs, inputs = use.block_shape[:2]
            return DeltaOrthogonal(std * math.sqrt(use.fan_in * max(outputs, inputs) / inputs))
    if draws == "uniform":
        return Uniform(-math.sqrt(3.0) * std, math.sqrt(3.0) * std)
    if draws == "truncated_normal":
        return TruncatedNormal(0.0, std)
    if draws == "orthogonal" and len(use.block_shape) >= 2:
        rows = use.block_shape[0] // use.groups
        columns = math.prod(use.block_shape[1:])
        return Orthogonal(std * math.sqrt(max(rows, columns)), use.groups)
    return Normal(0.0, std)


AUTO = auto()
