"""Initializers: frozen values that say what fills a tensor, and fill it."""

from goodinit.initializers.base import KINDS, Initializer
from goodinit.initializers.chrono import ChronoBias
from goodinit.initializers.composed import Blocks, Keep, ZeroRows, as_initializer
from goodinit.initializers.filling import fill_
from goodinit.initializers.laws import Constant, Normal, TruncatedNormal, Uniform, truncated_std
from goodinit.initializers.mirrored import LooksLinear
from goodinit.initializers.scaling import (
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
)
from goodinit.initializers.structured import DeltaOrthogonal, Dirac, Identity, Orthogonal, Sparse

__all__ = [
    "KINDS",
    "Blocks",
    "ChronoBias",
    "Constant",
    "DeltaOrthogonal",
    "Dirac",
    "Identity",
    "Initializer",
    "KaimingNormal",
    "KaimingUniform",
    "Keep",
    "LecunNormal",
    "LecunUniform",
    "LooksLinear",
    "Normal",
    "Orthogonal",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "XavierNormal",
    "XavierUniform",
    "ZeroRows",
    "as_initializer",
    "fill_",
    "truncated_std",
]
