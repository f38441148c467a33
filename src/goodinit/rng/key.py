"""The key: 64 bits made of the algorithm's version, the seed and the parameter's name."""

from __future__ import annotations

import operator
import struct
from hashlib import blake2b

from goodinit.errors import ArgumentError, WrongTypeError

__all__ = ["ALGORITHM", "derive_key"]

ALGORITHM: str = "goodinit-1"
"""Version of every drawn value. It is part of the key, so a new version changes all draws at once."""


_VERSION = len(ALGORITHM).to_bytes(8, "little") + ALGORITHM.encode()
_SEED_AND_LENGTH = struct.Struct("<QQQ").pack  # the seed's field, then the length of the name's


def derive_key(seed: int, name: str) -> int:
    """Return the 64-bit Philox key of one named parameter.

    key = BLAKE2b-64(field(version) ‖ field(seed) ‖ field(name)), read as a little-endian integer,
    where field(x) is the length of x in 8 little-endian bytes followed by x. The lengths make the
    encoding unambiguous: no two different (version, seed, name) give the same bytes.

    Args:
        seed: an integer in [0, 2**64).
        name: the parameter's canonical name.

    Returns:
        An integer in [0, 2**64).

    Raises:
        WrongTypeError: if seed is no integer (a bool counts as none) or name no string.
        ArgumentError: if seed is negative or needs more than 64 bits.

    >>> derive_key(0, "layer.weight") == derive_key(0, "layer.weight")
    True
    >>> derive_key(0, "layer.weight") == derive_key(1, "layer.weight")
    False

    Source: Aumasson et al., RFC 7693 (2015), BLAKE2b.
    """
    number = seed
    if type(seed) is not int or type(name) is not str:
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise WrongTypeError(
                f"seed must be an integer, found {type(seed).__name__}: pass, for example, seed=0"
            )
        if not isinstance(name, str):
            raise WrongTypeError(f"name must be a string, found {type(name).__name__}")
        number = operator.index(seed)
    if not 0 <= number < 2**64:
        raise ArgumentError(f"seed must be in [0, 2**64), found {number}: use a non-negative seed")
    # A name may hold lone surrogates (undecodable bytes of a checkpoint); it still needs a key.
    label = name.encode() if name.isascii() else name.encode("utf-8", "surrogatepass")
    message = _VERSION + _SEED_AND_LENGTH(8, number, len(label)) + label
    return int.from_bytes(blake2b(message, digest_size=8).digest(), "little")
