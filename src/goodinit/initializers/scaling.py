"""Initializers whose scale comes from fans: Glorot, He, LeCun and relatives.

The named ones are calls of `VarianceScaling` with the field's arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from goodinit.errors import ArgumentError, UnknownNameError, did_you_mean
from goodinit.initializers.base import Initializer, non_negative
from goodinit.initializers.laws import Constant, Normal, TruncatedNormal, Uniform

__all__ = [
    "KaimingNormal",
    "KaimingUniform",
    "LecunNormal",
    "LecunUniform",
    "VarianceScaling",
    "XavierNormal",
    "XavierUniform",
]

Mode = Literal["fan_in", "fan_out", "fan_avg"]
Distribution = Literal["normal", "uniform", "truncated_normal"]

_WITH_STD: dict[str, Callable[[float], Initializer]] = {
    "normal": lambda std: Normal(0.0, std),
    "uniform": lambda std: Uniform(-math.sqrt(3.0) * std, math.sqrt(3.0) * std),
    "truncated_normal": lambda std: TruncatedNormal(0.0, std),
}


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Zero-mean draws with std = gain / √fan.

    fan is `fan_in`, `fan_out`, or their mean for ``mode="fan_avg"``. `resolve`
    gives the concrete distribution once the fans are known.

    Args:
        gain: multiplier of the std (never of the variance), at least 0.
        mode: ``"fan_in"`` keeps the forward second moment, ``"fan_out"`` the
            gradient's, ``"fan_avg"`` compromises.
        distribution: ``"normal"``, ``"uniform"`` or ``"truncated_normal"`` (at
            two sigmas; std is the one after truncation).

    Raises:
        ArgumentError: if gain is negative or not finite.
        UnknownNameError: for an unknown mode or distribution.

    >>> VarianceScaling(1.0, "fan_in", "normal").resolve((256, 64), fan_in=64, fan_out=256)
    Normal(mean=0.0, std=0.125)

    Source: Glorot & Bengio (2010), eq. 12 and 16; He et al. (2015), eq. 10 and 14.
    """

    gain: float = 1.0
    mode: Mode = "fan_avg"
    distribution: Distribution = "uniform"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", non_negative("VarianceScaling", "gain", self.gain))
        for name, allowed in (("mode", get_args(Mode)), ("distribution", get_args(Distribution))):
            found = getattr(self, name)
            if found not in allowed:
                raise UnknownNameError(
                    f"VarianceScaling: {name} must be one of {', '.join(allowed)}, "
                    f"found {found!r}{did_you_mean(str(found), allowed)}"
                )

    def resolve(
        self, shape: tuple[int, ...], fan_in: float | None = None, fan_out: float | None = None
    ) -> Initializer:
        """Return the concrete distribution with std = gain / √fan.

        Raises:
            ArgumentError: if the fan that the mode asks for is unknown.
        """
        fan = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": None if fan_in is None or fan_out is None else (fan_in + fan_out) / 2,
        }[self.mode]
        if fan is None:
            raise ArgumentError(
                f"{self!r} needs {self.mode}, which is unknown for shape {shape}; "
                "pass fan_in and fan_out to resolve, or use an initializer with a fixed std"
            )
        # A tensor without inputs has no elements either: nothing will be drawn.
        return _WITH_STD[self.distribution](self.gain / math.sqrt(fan)) if fan else Constant(0.0)

    def _mean(self) -> float:
        return 0.0

    def _std(self) -> float:
        raise ArgumentError(
            f"the std of {self!r} depends on fans: resolve(shape, fan_in, fan_out).std gives it"
        )

    mean = property(_mean, doc="Zero.")
    std = property(_std, doc="Known only after `resolve`.")

    @property
    def bounds(self) -> tuple[float, float]:
        """Known only after `resolve`."""
        self._std()
        raise AssertionError  # pragma: no cover


def XavierUniform(gain: float = 1.0) -> VarianceScaling:  # noqa: N802 - the field's name
    """Uniform draws with std = gain·√(2/(fan_in+fan_out)) (Glorot & Bengio 2010, eq. 16).

    >>> XavierUniform().resolve((2, 4), fan_in=4, fan_out=2)
    Uniform(low=-1.0, high=1.0)
    """
    return VarianceScaling(gain, "fan_avg", "uniform")


def XavierNormal(gain: float = 1.0) -> VarianceScaling:  # noqa: N802 - the field's name
    """Normal draws with std = gain·√(2/(fan_in+fan_out)) (Glorot & Bengio 2010, eq. 12).

    >>> XavierNormal().resolve((2, 6), fan_in=6, fan_out=2).std
    0.5
    """
    return VarianceScaling(gain, "fan_avg", "normal")


def KaimingUniform(nonlinearity: Any = "relu", mode: Mode = "fan_in") -> VarianceScaling:  # noqa: N802
    """Uniform draws with std = gain/√fan, where gain = 1/√E[φ(z)²] for the nonlinearity φ.

    Args:
        nonlinearity: a name, an ``nn.Module`` or a callable, see `goodinit.theory.gain`.
        mode: ``"fan_in"`` or ``"fan_out"``.

    >>> round(KaimingUniform("relu").gain, 6)
    1.414214

    Source: He et al. (2015), eq. 10 and 14.
    """
    return VarianceScaling(_gain(nonlinearity), mode, "uniform")


def KaimingNormal(nonlinearity: Any = "relu", mode: Mode = "fan_in") -> VarianceScaling:  # noqa: N802
    """Normal draws with std = gain/√fan, where gain = 1/√E[φ(z)²] for the nonlinearity φ.

    Args:
        nonlinearity: a name, an ``nn.Module`` or a callable, see `goodinit.theory.gain`.
        mode: ``"fan_in"`` or ``"fan_out"``.

    >>> round(KaimingNormal("identity").resolve((8, 16), fan_in=16).std, 9)
    0.25

    Source: He et al. (2015), eq. 10 and 14.
    """
    return VarianceScaling(_gain(nonlinearity), mode, "normal")


def LecunUniform(gain: float = 1.0) -> VarianceScaling:  # noqa: N802 - the field's name
    """Uniform draws with std = gain/√fan_in (LeCun et al. 1998, section 4.6).

    >>> LecunUniform().resolve((8, 3), fan_in=3)
    Uniform(low=-1.0, high=1.0)
    """
    return VarianceScaling(gain, "fan_in", "uniform")


def LecunNormal(gain: float = 1.0) -> VarianceScaling:  # noqa: N802 - the field's name
    """Normal draws with std = gain/√fan_in (LeCun et al. 1998, section 4.6).

    >>> LecunNormal().resolve((8, 4), fan_in=4).std
    0.5
    """
    return VarianceScaling(gain, "fan_in", "normal")


def _gain(nonlinearity: Any) -> float:
    if nonlinearity == "relu":
        return math.sqrt(2.0)  # exact, and without the cost of loading the quadrature
    from goodinit.theory import gain

    return float(gain(nonlinearity, "forward"))
