"""Keys: stable, distinct, and strict about seeds."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.rng import ALGORITHM, derive_key

SEEDS = st.integers(0, 2**64 - 1)


def test_a_key_is_the_blake2b_hash_of_length_prefixed_fields() -> None:
    fields = (b"goodinit-1", (7).to_bytes(8, "little"), b"a.weight")
    message = b"".join(len(field).to_bytes(8, "little") + field for field in fields)
    assert ALGORITHM == "goodinit-1"
    assert derive_key(7, "a.weight") == int.from_bytes(
        hashlib.blake2b(message, digest_size=8).digest(), "little"
    )


@given(SEEDS, st.text(), SEEDS, st.text())
def test_different_seeds_or_names_give_different_keys(s: int, n: str, t: int, m: str) -> None:
    assert (derive_key(s, n) == derive_key(t, m)) == ((s, n) == (t, m))


@given(SEEDS, st.text(st.characters()))
def test_any_string_is_a_name_even_with_lone_surrogates(seed: int, name: str) -> None:
    assert 0 <= derive_key(seed, name + "\udcff") < 2**64


def test_a_hundred_thousand_keys_do_not_collide() -> None:
    # A random 64-bit function collides here with probability 3e-10.
    keys = {derive_key(seed, f"layer.{i}") for seed, i in itertools.product(range(10), range(10_000))}
    assert len(keys) == 100_000


def test_a_numpy_integer_is_the_same_seed() -> None:
    assert derive_key(np.int64(5), "w") == derive_key(5, "w")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ArgumentError, match=rf"seed must be in .*found {seed}"):
        derive_key(seed, "w")


@pytest.mark.parametrize("seed", [True, 1.0, "1", None])
def test_a_seed_that_is_no_integer_is_refused(seed: object) -> None:
    with pytest.raises(WrongTypeError, match=f"seed must be an integer, found {type(seed).__name__}"):
        derive_key(seed, "w")  # type: ignore[arg-type]


def test_a_name_that_is_no_string_is_refused() -> None:
    with pytest.raises(WrongTypeError, match="name must be a string, found bytes"):
        derive_key(0, b"w")  # type: ignore[arg-type]
