"""Philox4x32-10, the source of every bit.

Counter layout: words 0 and 1 hold the block number (element index div 4, 64 bits, low word
first), word 2 the draw, word 3 the stream; the element takes word (index mod 4) of its block.
This is the layout of torch's own stateless generator.

Source: Salmon, Moraes, Dror, Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from goodinit.errors import ArgumentError

__all__ = ["block_words", "philox4x32", "words"]

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

# Multipliers and Weyl constants: Salmon et al. (2011), table 2 and section 3.3.
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_ROUNDS = 10


def philox4x32(counter: U32, key: U32) -> U32:
    """Return Philox4x32-10 of counters under keys.

    Args:
        counter: uint32 array of shape (..., 4).
        key: uint32 array of shape (..., 2), broadcast against the counters.

    Returns:
        uint32 array of the counters' shape.

    Raises:
        ArgumentError: if the last dimensions are not 4 and 2.

    >>> [hex(word) for word in philox4x32(np.zeros(4, np.uint32), np.zeros(2, np.uint32))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']

    Source: Salmon et al. (2011), section 3.3.
    """
    counter, key = np.asarray(counter), np.asarray(key)
    if counter.shape[-1:] != (4,) or key.shape[-1:] != (2,):
        raise ArgumentError(
            f"counter and key must end in dimensions 4 and 2, found shapes {counter.shape} and {key.shape}"
        )
    lead = np.broadcast_shapes(counter.shape[:-1], key.shape[:-1])
    state = np.array(np.broadcast_to(counter, (*lead, 4)).reshape(-1, 4).T, np.uint64, order="C")
    keys = np.array(np.broadcast_to(key, (*lead, 2)).reshape(-1, 2).T, np.uint64, order="C")
    _run_rounds(state, keys[0], keys[1])
    out: U32 = state.T.astype(np.uint32).reshape(*lead, 4)
    return out


def words(key: int, index: U64, draw: int = 0, stream: int = 0) -> U32:
    """Return the 32 random bits of elements, addressed one by one: the readable specification.

    word = philox4x32((index div 4, draw, stream), key)[index mod 4]

    Args:
        key: 64-bit key from `derive_key`.
        index: uint64 array of global row-major element indices, any shape.
        draw: which of the element's words, below 2**32.
        stream: which independent stream, below 2**32.

    Returns:
        uint32 array of the shape of index.

    >>> [hex(word) for word in words(0, np.arange(4, dtype=np.uint64))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']

    Source: Salmon et al. (2011), section 3.3; the layout is this module's.
    """
    index = np.asarray(index, np.uint64)
    block = index >> np.uint64(2)
    counter = np.empty((*index.shape, 4), np.uint32)
    counter[..., 0] = block & _LOW
    counter[..., 1] = block >> _32
    counter[..., 2] = draw
    counter[..., 3] = stream
    out = philox4x32(counter, np.array([key & 0xFFFFFFFF, key >> 32], np.uint32))
    column = (index & np.uint64(3)).astype(np.intp)
    return np.take_along_axis(out, column[..., None], -1)[..., 0]


def block_words(key: int, blocks: U64, draw: int, stream: int) -> U32:
    """Return all four words of each block, evaluating each block once.

    Args:
        key: 64-bit key.
        blocks: uint64 array of shape (n,), element index div 4.
        draw: counter word 2.
        stream: counter word 3.

    Returns:
        uint32 array of shape (4, n); column i holds the words of elements 4·blocks[i] … + 3.

    >>> [hex(word) for word in block_words(0, np.zeros(1, np.uint64), 0, 0)[:, 0]]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    state = np.empty((4, blocks.size), np.uint64)
    np.bitwise_and(blocks, _LOW, out=state[0])
    np.right_shift(blocks, _32, out=state[1])
    state[2] = draw
    state[3] = stream
    _run_rounds(state, np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32))
    return state.astype(np.uint32)


def _run_rounds(state: U64, k0: U64 | np.uint64, k1: U64 | np.uint64) -> None:
    """Run the ten rounds in place on state (4, n), whose 64-bit lanes hold 32-bit words."""
    c0, c1, c2, c3 = state
    p0, p1 = np.empty_like(c0), np.empty_like(c0)
    for round_number in range(_ROUNDS):
        if round_number:
            k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
        np.multiply(c0, _M0, out=p0)
        np.multiply(c2, _M1, out=p1)
        np.right_shift(p1, _32, out=c0)
        np.bitwise_xor(c0, c1, out=c0)
        np.bitwise_xor(c0, k0, out=c0)
        np.right_shift(p0, _32, out=c2)
        np.bitwise_xor(c2, c3, out=c2)
        np.bitwise_xor(c2, k1, out=c2)
        np.bitwise_and(p1, _LOW, out=c1)
        np.bitwise_and(p0, _LOW, out=c3)
