"""What was measured of layers, parameters, attention and Jacobians."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AttentionSignal",
    "Histogram",
    "JacobianSpectrum",
    "LayerSignal",
    "Moments",
    "ParameterSignal",
    "Prediction",
]


@dataclass(frozen=True)
class Moments:
    """Moments of one tensor over all its elements (population, not sample, moments).

    `second_moment` is E[x²]; `std` is √(E[x²] − mean²). Where the tensor holds
    non-finite values they are counted in `nonfinite` and left out of the moments.
    """

    count: int
    mean: float
    second_moment: float
    std: float
    nonfinite: int = 0


@dataclass(frozen=True)
class Histogram:
    """Counts in equal bins from `low` to `high`.

    Of large tensors a regular subsample is counted: `sampled` elements. Values that are
    not finite are left out.
    """

    low: float
    high: float
    counts: tuple[int, ...]

    @property
    def sampled(self) -> int:
        """How many elements were counted."""
        return sum(self.counts)


@dataclass(frozen=True)
class Prediction:
    """What theory expects of a second moment, with the band that width, batch and depth explain."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LayerSignal:
    """What one layer put out, and the gradient that came back to that output.

    One record per call of a layer, in order of execution; `index` counts from 0
    and `call` counts the calls of the same module. Shares are in [0, 1] or `None`
    where the question makes no sense for that layer, or was not measured.

    Attributes:
        index: place in the order of execution.
        name: the module's canonical name; for an operation outside of any layer its
            module's name, a dot and the operation; for one of several that multiply by
            parameters of one module, the parameter's name.
        kind: the module's type or the operation's name; ``"add"`` is a residual sum.
        call: how many times this name ran before.
        shape: of the output.
        output: moments of the output.
        gradient: moments of the gradient that reached it; None where none did.
        zeros: share of exact zeros; estimated from a regular subsample of 2,048 elements, except
            in ReLU-like layers.
        units: channels or features.
        dead: units of a ReLU-like layer that are zero for the whole batch.
        saturated: share of elements where the derivative is under 1 % of its largest.
        always_on: units that are nonzero wherever any unit is.
        varying: the part of the second moment that differs from sample to sample.
        parametric: whether the layer owns parameters.
        finite_input: only where the output is not finite: whether its inputs were; if so,
            the fault began here.
        dtype: of the output, such as ``"bfloat16"``.
        correlation: mean cosine between the outputs of different samples; 1 means that
            the network cannot tell them apart.
        rank: participation ratio tr(G)²/tr(G²) of the Gram matrix of the output's rows
            (tokens or samples), between 1 and `rows`.
        rows: the number of rows in that Gram matrix.
        underflow: share of the gradient's elements that are zero or subnormal in its dtype,
            estimated from a regular subsample of 2,048 elements.
        unit_moments: second moments of single units, at most 64 evenly spaced ones.
        unit_gradients: the same of the gradient.
        steps: second moments by time step, at most 64 evenly spaced ones.
        step_gradients: the same of the gradient.
        memory: of a recurrent layer or the last call of a cell: second moments of the gradient
            of the last step's output with respect to the input (of a cell: to its earlier
            outputs), by step, at most 64 evenly spaced ones; how much the end still depends
            on each step.
        histogram: of the output.
        gradient_histogram: of the gradient.
        predicted: what theory expects of the output's second moment.
        predicted_gradient: what theory expects of the gradient's second moment, relative
            to the last layer that has a prediction.
        predicted_steps: what theory expects of the output's second moment at the places of `steps`.
    """

    index: int
    name: str
    kind: str
    call: int
    shape: tuple[int, ...]
    output: Moments
    gradient: Moments | None
    zeros: float
    units: int
    dead: int | None
    saturated: float | None
    always_on: int | None = None
    varying: float | None = None
    parametric: bool = False
    finite_input: bool | None = None
    dtype: str = "float32"
    correlation: float | None = None
    rank: float | None = None
    rows: int | None = None
    underflow: float | None = None
    unit_moments: tuple[float, ...] = ()
    unit_gradients: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()
    step_gradients: tuple[float, ...] = ()
    memory: tuple[float, ...] = ()
    histogram: Histogram | None = None
    gradient_histogram: Histogram | None = None
    predicted: Prediction | None = None
    predicted_gradient: Prediction | None = None
    predicted_steps: tuple[float, ...] = ()


@dataclass(frozen=True)
class ParameterSignal:
    """One parameter's values and gradient; `gradient` is None where backward never reached it.

    `kind` is the type of the module that owns it, `zeros` the share of exact zeros,
    `subnormal` the share of nonzero values too small to be normal numbers, and
    `underflow` the share of the gradient's elements that are zero or subnormal, estimated
    from a regular subsample of 2,048 elements. `formula` says what sets values apart that no
    law draws ("in order"), None where they may be drawn.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    value: Moments
    gradient: Moments | None
    largest: float
    kind: str = ""
    zeros: float = 0.0
    subnormal: float = 0.0
    underflow: float | None = None
    histogram: Histogram | None = None
    gradient_histogram: Histogram | None = None
    equal_units: int = 0
    repeats: int = 1
    formula: str | None = None
    padding: float | None = None
    forget: float | None = None
    tied: tuple[str, ...] = ()

    @property
    def gradient_ratio(self) -> float | None:
        """The gradient's root mean square over the value's; None where there is none."""
        if self.gradient is None or not self.value.second_moment > 0:
            return None
        return float((self.gradient.second_moment / self.value.second_moment) ** 0.5)


@dataclass(frozen=True)
class AttentionSignal:
    """How one attention distributes its weight, over a subsample of queries.

    Attributes:
        name: the module that runs it.
        call: how many times this name ran before.
        heads: number of heads.
        keys: number of keys that a query may see, on average.
        entropy: mean entropy over queries and heads, as a share of log(keys seen):
            1 is uniform, 0 is one key only.
        head_entropy: the same for each head.
        logit_std: standard deviation of the logits over the keys seen, mean over queries.
        peaked: share of queries whose largest weight exceeds 0.99.
    """

    name: str
    call: int
    heads: int
    keys: float
    entropy: float
    head_entropy: tuple[float, ...]
    logit_std: float
    peaked: float


@dataclass(frozen=True)
class JacobianSpectrum:
    """Singular values of a Jacobian, by randomized methods; the matrix is never formed.

    Attributes:
        start: what is differentiated by: ``"input"`` or a layer's name.
        end: what is differentiated: ``"output"`` or a layer's name.
        inputs: size of one sample at `start`.
        outputs: size of one sample at `end`.
        mean_square: tr(JᵀJ)/inputs, with its standard error.
        mean_square_error: standard error over the random probes.
        largest: largest singular value found (a lower bound that converges).
        values: nodes of the spectral density, singular values in rising order.
        weights: share of the min(inputs, outputs) singular values at each node; sums to 1.
        probes: number of random vectors for each sample.
        samples: number of samples averaged over.
        joint: whether samples influence each other (batch norm in training mode), so that
            the whole batch was taken as one sample.
    """

    start: str
    end: str
    inputs: int
    outputs: int
    mean_square: float
    mean_square_error: float
    largest: float
    values: tuple[float, ...]
    weights: tuple[float, ...]
    probes: int
    samples: int = 1
    joint: bool = False
