"""Addressable randomness: a value is a function of (seed, name, global element index) alone.

`derive_key` makes a parameter's key, `Region` says which part of it a tensor holds, the ``fill_``
functions write. `words` is the readable specification of the bits.
"""

from __future__ import annotations

from goodinit.rng.fill import fill_normal_, fill_truncated_normal_, fill_uniform_
from goodinit.rng.key import ALGORITHM, derive_key
from goodinit.rng.philox import philox4x32, words
from goodinit.rng.region import Region
from goodinit.rng.writing import check_fillable

__all__ = [
    "ALGORITHM",
    "Region",
    "check_fillable",
    "derive_key",
    "fill_normal_",
    "fill_truncated_normal_",
    "fill_uniform_",
    "philox4x32",
    "words",
]
