"""Philox4x32-10 against the published answers and against itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodinit.errors import ArgumentError
from goodinit.rng import philox4x32, words
from goodinit.rng.philox import block_words

# Random123's kat_vectors for philox4x32 10 (D. E. Shaw Research, 2011): counter, key, answer.
PUBLISHED = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)


def integers(text: str) -> np.ndarray:
    return np.array([int(word, 16) for word in text.split()], np.uint32)


@pytest.mark.parametrize(("counter", "key", "answer"), PUBLISHED)
def test_the_published_answers_are_reproduced(counter: str, key: str, answer: str) -> None:
    np.testing.assert_array_equal(philox4x32(integers(counter), integers(key)), integers(answer))


def test_counters_and_keys_broadcast() -> None:
    counters = np.stack([integers(row[0]) for row in PUBLISHED])
    keys = np.stack([integers(row[1]) for row in PUBLISHED])
    out = philox4x32(counters[:, None], keys[None])
    assert out.shape == (3, 3, 4)
    for i in range(3):
        np.testing.assert_array_equal(out[i, i], integers(PUBLISHED[i][2]))


@given(U64, st.lists(U64, min_size=1, max_size=20), U32, U32)
def test_a_word_is_found_where_the_layout_says(key: int, index: list[int], draw: int, stream: int) -> None:
    found = words(key, np.array(index, np.uint64), draw, stream)
    for i, word in zip(index, found.tolist(), strict=True):
        block = i // 4
        counter = np.array([block % 2**32, block >> 32, draw, stream], np.uint32)
        halves = np.array([key % 2**32, key >> 32], np.uint32)
        assert word == philox4x32(counter, halves)[i % 4]


@given(U64, st.lists(st.integers(0, 2**62 - 1), min_size=1, max_size=20), U32, U32)
def test_whole_blocks_hold_the_words_of_their_elements(
    key: int, blocks: list[int], draw: int, stream: int
) -> None:
    block = np.array(blocks, np.uint64)
    index = block * np.uint64(4) + np.arange(4, dtype=np.uint64)[:, None]
    np.testing.assert_array_equal(block_words(key, block, draw, stream), words(key, index, draw, stream))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"found shapes \(3,\) and \(2,\)"):
        philox4x32(np.zeros(3, np.uint32), np.zeros(2, np.uint32))
