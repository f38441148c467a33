"""What is known about one use of a parameter, as plain frozen records."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from goodinit.graph.expressions import Elementwise
from goodinit.graph.layout import Span
from goodinit.graph.making import Making

__all__ = ["Recurrence", "Residual", "Sink", "Source", "WeightUse"]


@dataclass(frozen=True)
class Source:
    """What feeds a weight.

    Attributes:
        kind: ``"data"``, ``"weight"``, ``"norm"``, ``"residual"``, ``"attention"``, ``"gate"``,
            ``"embedding"``, ``"recurrence"``, ``"learned"`` (a parameter used as a signal),
            ``"linear_attention"`` (attention without softmax), ``"generated"`` (what generated weights
            put out) or ``"mixed"``.
        weights: the parameters that made it; for a residual stream those of its last branch.
        activation: the elementwise function since then, None for the identity.
        norm: the module (or operation) that normalized it, where `kind` is ``"norm"``.
        stream: the residual stream, where `kind` is ``"residual"``.
        pooled: whether positions were averaged, or the largest was picked, on the way.
        terms: how many separate results were added up to make it, a residual stream aside.
        moment: where products, sums or joins lie before it, its second moment from those of what
            it was made of, each by its kind and its parameters; None elsewhere.
        size: where `kind` is ``"norm"``, the second moment that the normalization itself puts out: 1, or
            1/d where it divides by the length of vectors of d numbers.
    """

    kind: str
    weights: tuple[str, ...] = ()
    activation: Elementwise | None = None
    norm: str | None = None
    stream: int | None = None
    pooled: bool = False
    terms: int = 1
    moment: Callable[[Callable[[str, tuple[str, ...]], float]], float] | None = field(
        default=None, compare=False, repr=False
    )
    size: float = 1.0


@dataclass(frozen=True)
class Sink:
    """What a weight's result goes into.

    Attributes:
        kind: ``"weight"``, ``"norm"``, ``"residual"``, ``"attention_logits"``, ``"attention_mix"``,
            ``"gate"`` (a product with another signal), ``"linear_attention"`` (a part of attention without
            softmax), ``"generated"`` (it is contracted as a weight), ``"output"`` or ``"end"`` (nothing
            reads it).
        weights: the parameters that read it, where `kind` is ``"weight"``.
        activation: the elementwise function before that, None for the identity.
        norm: the module (or operation) that normalizes it, where `kind` is ``"norm"``.
        sums: where `kind` is ``"generated"``, how many inputs each result of the generated weights sums.
        yields: where `kind` is ``"generated"``, what these have as second moment if the weights' is 1, from
            the second moments of what the inputs were made of (see `Source.moment`).
        variance: where `kind` is ``"attention_logits"``, the variance that queries and keys of second
            moment 1 give the logits: 1 after the usual 1/√d.
        scored: where several results make the output together, as products of rows or of two networks,
            means and mixtures do, that one's second moment from theirs.
        beside: where `kind` is ``"weight"`` and results are joined to others that weights made before, the
            second moment of those; where it is ``"gate"`` and a gate g mixes results with an earlier
            signal, 1 − g of it, what they must have so that the mix is as large as that signal; or what
            the gate must have.
    """

    kind: str
    weights: tuple[str, ...] = ()
    activation: Elementwise | None = None
    norm: str | None = None
    sums: float = 1.0
    variance: float = 1.0
    yields: Callable[[Callable[[str, tuple[str, ...]], float]], float] | None = field(
        default=None, compare=False, repr=False
    )
    scored: Callable[[float], float] | None = field(default=None, compare=False, repr=False)
    beside: Callable[[Callable[[str, tuple[str, ...]], float]], float] | None = field(
        default=None, compare=False, repr=False
    )


@dataclass(frozen=True)
class Residual:
    """A result that is added into a residual stream.

    Attributes:
        stream: the stream's number, from 0.
        position: which addition of that stream this is, from 1.
        of: how many additions the stream has.
        scale: parameters that multiply the branch before it is added (LayerScale, ReZero).
        shortcut: whether this weight projects the stream itself, as in a ResNet's downsampling.
        terms: how many separate results are added up to make this one branch, as shared and routed
            experts are, or attention and feed-forward parts side by side.
        start: the parameters that made the stream before its first addition.
        weighed: the second moment that a gate or the shares of a router leave of unit results, Σ E[p²]
            over all experts of one router.
        ends: where some branches of the stream have no weight, the second moment with which it ends.
        begins: where the stream begins with what was pooled, its second moment as `Source.moment` gives it.
        size, share: where constants such as 1/√2 multiply the stream again and again, the second moments of
            its sums and of what each branch must add, of what the stream began with; else 1 and 0.
    """

    stream: int
    position: int
    of: int
    scale: tuple[str, ...] = ()
    shortcut: bool = False
    terms: int = 1
    start: tuple[str, ...] = ()
    weighed: float = 1.0
    ends: float = 0.0
    size: float = 1.0
    share: float = 0.0
    begins: Callable[[Callable[[str, tuple[str, ...]], float]], float] | None = field(
        default=None, compare=False, repr=False
    )


@dataclass(frozen=True)
class Recurrence:
    """A weight's part in nn.RNN, LSTM or GRU.

    `part` is ``"input"``, ``"hidden"`` or ``"projection"``; `gate` is ``"input"``, ``"forget"``,
    ``"cell"``, ``"output"``, ``"reset"``, ``"update"``, ``"new"``, or empty where there are no gates.
    """

    part: str
    gate: str
    layer: int = 0
    reverse: bool = False


@dataclass(frozen=True)
class WeightUse:
    """One way in which a model uses a parameter, or one block of it.

    Attributes:
        name: the parameter's canonical name.
        shape: the parameter's sizes.
        block: the indices of the block in every dimension; None for the whole parameter.
        op: ``"matmul"``, ``"convolution"``, ``"conv_transpose"``, ``"embedding"``, ``"bilinear"``,
            ``"scale"`` (multiplies elementwise), ``"shift"`` (is added), ``"token"`` (joins the
            signal as data does), ``"start"`` (is itself the signal), or ``"other"``.
        contracted: dimensions of the parameter that are summed over.
        output: dimensions that index results.
        batch: dimensions that pick one of several weights, such as experts or heads.
        fan_in: mean number of this kind of weight that reach one result.
        fan_out: mean number of results that one input reaches through this block.
        groups: groups of a convolution.
        stride: strides of a convolution.
        module: the module that was running, by canonical name.
        index: position of the operation in the order of execution.
        calls: how often the same use occurs in one pass.
        source: what feeds it.
        sinks: what its result goes into, the principal one first.
        attention: ``"q"``, ``"k"``, ``"v"``, ``"output"`` or empty.
        gate: ``"gate"``, ``"value"`` or empty.
        recurrence: its part in a recurrent layer.
        residual: its place in a residual stream.
        norm_before: the normalization that feeds it directly.
        norm_after: the normalization that its result goes into.
        head: whether its result is the model's output, with no weight after it.
        of: for a scale or shift, the parameters whose result it changes.
        through: operations that change the parameter's values before they are used.
        divides: whether a scale is what the signal is divided by.
        held: gives the mean square of the numbers that the operation uses for now, as the model and its
            parametrizations make them; NaN where the model holds none.
        inside: the share of what a convolution reads that is no padding.
        coupling: the number of the reversible coupling b·exp(s) + t of which it makes s or t; None elsewhere.
        making: what operations make of the parameter's numbers before they are used; None where nothing.
    """

    name: str
    shape: tuple[int, ...]
    op: str
    fan_in: float
    fan_out: float
    source: Source
    sinks: tuple[Sink, ...]
    block: tuple[Span, ...] | None = None
    contracted: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()
    groups: int = 1
    stride: tuple[int, ...] = ()
    module: str = ""
    index: int = 0
    calls: int = 1
    attention: str = ""
    gate: str = ""
    recurrence: Recurrence | None = None
    residual: Residual | None = None
    norm_before: str | None = None
    norm_after: str | None = None
    head: bool = False
    of: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    divides: bool = False
    held: Callable[[], float] | None = field(default=None, compare=False, repr=False)
    inside: float = 1.0
    coupling: int | None = None
    making: Making | None = field(default=None, compare=False, repr=False)

    @property
    def sink(self) -> Sink:
        """The principal sink."""
        return self.sinks[0]

    @property
    def contracts(self) -> bool:
        """Whether the use connects inputs to results, rather than scaling or shifting them."""
        return self.op in ("matmul", "convolution", "conv_transpose", "bilinear")

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Sizes of the block."""
        return self.shape if self.block is None else tuple(span.size for span in self.block)

    @property
    def numel(self) -> int:
        """Elements in the block."""
        return math.prod(self.block_shape)
