"""The rules for torch's layers that all scaled recipes share.

A `Scheme` names what differs between recipes (which initializer for which kind of
weight); the rules say where each kind of weight is, with its true fans.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from goodinit.graph import Place, Use
from goodinit.graph.layers import conv1d_like, module_fans
from goodinit.graph.places import kind
from goodinit.initializers import Blocks, ChronoBias, Constant, Initializer, Normal, Orthogonal, ZeroRows
from goodinit.recipes.decision import Decision, Rule

__all__ = ["Scheme", "layer_rules"]


@dataclass(frozen=True)
class Scheme:
    """What one recipe puts where.

    Attributes:
        weight: for weights whose output meets the network's nonlinearity.
        weight_why: the reason, a clause.
        projection: for weights whose output meets no rectifier: attention, gates, bilinear forms.
        projection_why: the reason, a clause.
        forget_bias: sum of the two forget-gate biases of an LSTM.
        recurrent: for hidden-to-hidden weights; None takes `projection`.
        horizon: longest memory of LSTM and GRU in steps, for chrono biases; None for the forget bias.
        arriving: the second moment that a recurrent layer's input map reads, by its name; None where
            that is not known.
    """

    weight: Initializer
    weight_why: str
    projection: Initializer
    projection_why: str
    forget_bias: float = 1.0
    recurrent: Initializer | None = None
    horizon: float | None = None
    arriving: Callable[[str], float] | None = None


def layer_rules(scheme: Scheme) -> tuple[Rule, ...]:
    """Return the rules of a scheme for every layer of torch.nn that owns parameters."""
    rules: tuple[Callable[[Scheme, Place, Use], Decision | None], ...] = (
        _normalization,
        _embedding,
        _attention,
        _recurrent,
        _bilinear,
        _linear_or_convolution,
        _prelu,
    )

    def bind(rule: Callable[[Scheme, Place, Use], Decision | None]) -> Rule:
        return lambda place, use: rule(scheme, place, use)

    return tuple(bind(rule) for rule in rules)


_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


def _normalization(scheme: Scheme, place: Place, use: Use) -> Decision | None:
    if not isinstance(use.module, _NORMS) or use.local not in ("weight", "bias"):
        return None
    value = 1.0 if use.local == "weight" else 0.0
    what = "gain 1" if use.local == "weight" else "bias 0"
    why = f"{kind(use.module)} starts as pure normalization: {what}"
    return Decision(Constant(value), why, default=value)


def _embedding(scheme: Scheme, place: Place, use: Use) -> Decision | None:
    module = use.module
    if not isinstance(module, nn.Embedding | nn.EmbeddingBag) or use.local != "weight":
        return None
    head = next((other.module for other in place.uses if isinstance(other.module, nn.Linear)), None)
    if head is not None:
        width = float(module.embedding_dim)
        initializer: Initializer = Normal(0.0, width**-0.5)
        why = (
            f"tied to the output layer {type(head).__name__}, which sums {width:g} features into each logit: "
            f"std 1/√{width:g} keeps logits near 1"
        )
    else:
        initializer = Normal(0.0, 1.0)
        why = "a lookup sums nothing (fan_in 1), so unit std gives every output a second moment of 1"
    if module.padding_idx is not None:
        initializer = ZeroRows(initializer, (module.padding_idx,))
        why += f"; padding row {module.padding_idx} stays zero"
    return Decision(initializer, why, 1.0, float(module.embedding_dim))


def _attention(scheme: Scheme, place: Place, use: Use) -> Decision | None:
    module = use.module
    if not isinstance(module, nn.MultiheadAttention):
        return None
    width = float(module.embed_dim)
    if use.local == "in_proj_weight":
        return Decision(
            _per_block(scheme.projection, 3),
            f"q, k and v are three separate {module.embed_dim}→{module.embed_dim} maps in one tensor; "
            f"{scheme.projection_why}",
            width,
            width,
        )
    if use.local in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        fan_in = float(place.parameter.shape[1])
        return Decision(
            scheme.projection, f"{use.local[0]} projection; {scheme.projection_why}", fan_in, width
        )
    if use.local == "in_proj_bias":
        return Decision(Constant(0.0), "no query, key or value is preferred at the start", default=0.0)
    if use.local in ("bias_k", "bias_v"):
        return Decision(
            Normal(0.0, width**-0.5),
            f"one extra {use.local[-1]} vector of norm 1, beside those that the projection makes",
            1.0,
            width,
        )
    return None


def _per_block(initializer: Initializer, blocks: int) -> Initializer:
    """Elementwise laws need no blocks once the fans are per block; a matrix structure does."""
    if isinstance(initializer, Orthogonal):
        return dataclasses.replace(initializer, groups=initializer.groups * blocks)
    return initializer


# torch packs gates along dimension 0: LSTM as input, forget, cell, output; GRU as reset, update, new.
_GATES: tuple[tuple[tuple[type[nn.Module], ...], int], ...] = (
    ((nn.LSTM, nn.LSTMCell), 4),
    ((nn.GRU, nn.GRUCell), 3),
    ((nn.RNNBase, nn.RNNCellBase), 1),
)


def _recurrent(scheme: Scheme, place: Place, use: Use) -> Decision | None:
    module = use.module
    gates = next((count for kinds, count in _GATES if isinstance(module, kinds)), None)
    if gates is None:
        return None
    assert isinstance(module, nn.RNNBase | nn.RNNCellBase)
    hidden = module.hidden_size
    name = kind(module)
    if use.local.startswith(("weight_ih", "weight_hh")):
        fan_in = float(place.parameter.shape[1])
        source = "input" if use.local.startswith("weight_ih") else "hidden state"
        per_gate = f"each of the {gates} gates is its own map" if gates > 1 else "one map"
        initializer, reason = scheme.projection, scheme.projection_why
        if scheme.recurrent is not None and use.local.startswith("weight_hh"):
            initializer, reason = scheme.recurrent, "an orthogonal recurrence keeps its state's norm"
        elif scheme.arriving is not None and use.local.startswith("weight_ih"):
            moment = scheme.arriving(place.name)
            if moment > 0 and not math.isclose(moment, 1.0, rel_tol=1e-6):
                initializer = Normal(0.0, 1 / math.sqrt(moment * fan_in))
                reason = f"what it reads has second moment {moment:.3g}, what it gives the gates 1"
        return Decision(
            _per_block(initializer, gates),
            f"{source}→gates of {name}: {per_gate} {fan_in:g}→{hidden}; {reason}",
            fan_in,
            float(hidden),
        )
    if use.local.startswith("weight_hr"):
        projected = float(place.parameter.shape[0])
        return Decision(
            scheme.projection,
            f"hidden state projected {hidden}→{projected:g}; {scheme.projection_why}",
            float(hidden),
            projected,
        )
    if use.local.startswith("bias_ih") and gates > 1 and scheme.horizon is not None:
        return Decision(
            ChronoBias(scheme.horizon, gates),
            f"chrono: each unit of {name} remembers for 1 to {scheme.horizon:g} steps from the start; "
            f"the whole bias is here, {use.local.replace('ih', 'hh')} is 0",
            default=0.0,
        )
    if use.local.startswith("bias_ih") and gates == 4:
        total = scheme.forget_bias
        return Decision(
            Blocks.of(
                [(hidden, Constant(0.0)), (hidden, Constant(total)), (2 * hidden, Constant(0.0))],
            ),
            f"forget gate opens at the start: its two biases sum to {total:g} ({total:g} here + 0 in "
            f"{use.local.replace('ih', 'hh')}); the other gates start at 0",
            default=0.0,
        )
    if use.local.startswith(("bias_ih", "bias_hh")):
        extra = ", the whole forget bias is in bias_ih" if gates == 4 else ""
        return Decision(Constant(0.0), f"{name} gates start unbiased{extra}", default=0.0)
    return None


def _bilinear(scheme: Scheme, place: Place, use: Use) -> Decision | None:
    if not isinstance(use.module, nn.Bilinear) or use.local not in ("weight", "bias"):
        return None
    if use.local == "bias":
        return Decision(Constant(0.0), "zero, so that the weights alone set the scale")
    fans = module_fans(use.module)
    assert fans is not None
    return Decision(
        scheme.projection,
        f"each output sums {fans.fan_in:g} products of the two inputs; {scheme.projection_why}",
        fans.fan_in,
        fans.fan_out,
    )


def _linear_or_convolution(scheme: Scheme, place: Place, use: Use) -> Decision | None:
    module = use.module
    fans = module_fans(module)
    if fans is None or use.local not in ("weight", "bias"):
        return None
    name = kind(module)
    if use.local == "bias":
        return Decision(Constant(0.0), f"{name} bias: zero, so that the weights alone set the scale")
    why = f"{name}: each output sums {fans.fan_in:g} inputs, each input reaches {fans.fan_out:g} outputs"
    if conv1d_like(module):
        why += " (stored transposed)"
    # What attention puts out is added to the residual stream; no rectifier meets it.
    attends = bool(use.ancestors) and isinstance(use.ancestors[-1], nn.MultiheadAttention)
    initializer, reason = (
        (scheme.projection, scheme.projection_why) if attends else (scheme.weight, scheme.weight_why)
    )
    groups = getattr(module, "groups", 1)
    if groups > 1:
        why += f" (groups={groups})"
        initializer = _per_block(initializer, groups)
    return Decision(initializer, f"{why}; {reason}", fans.fan_in, fans.fan_out)


def _prelu(scheme: Scheme, place: Place, use: Use) -> Decision | None:
    if not isinstance(use.module, nn.PReLU) or use.local != "weight":
        return None
    slope = float(use.module.init)
    why = "the slope that PReLU was made with" + (", He et al.'s (2015)" if slope == 0.25 else "")
    return Decision(Constant(slope), why, default=slope)
