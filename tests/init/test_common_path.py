"""Small plain tensors take a shorter way, with the values and the use of the generator of the long one."""

from __future__ import annotations

import threading
from unittest import mock

import pytest
import torch

import goodinit._init_fills as fills
import goodinit.init as init
from goodinit.rng import native

pytestmark = pytest.mark.skipif(native.instruction_set() is None, reason="the kernels do not run here")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "numbers"), [("normal_", (0.5, 2)), ("uniform_", (-1, 3.0))])
def test_the_short_way_draws_what_the_long_one_draws(name: str, numbers: tuple, dtype: torch.dtype) -> None:
    fill = getattr(init, name)
    torch.manual_seed(5)
    with mock.patch.object(fills, "gets_our_draws", side_effect=AssertionError("the long way")):
        short = [fill(torch.zeros(17, dtype=dtype), *numbers), fill(torch.zeros(4, 4, dtype=dtype), *numbers)]
    after = torch.get_rng_state()
    torch.manual_seed(5)
    long = [
        fill(torch.zeros(shape, dtype=dtype), *numbers, generator=torch.default_generator)
        for shape in (17, (4, 4))
    ]
    assert all(map(torch.equal, short, long))
    assert torch.equal(after, torch.get_rng_state())
    assert not torch.equal(short[0][:16].view(4, 4), short[1])


def test_a_parameter_is_filled_without_a_step_of_autograd() -> None:
    weight = torch.nn.Parameter(torch.zeros(5))
    before = weight._version
    assert init.normal_(weight) is weight
    assert weight.is_leaf
    assert weight.grad_fn is None
    assert weight._version > before
    with torch.inference_mode():
        inner = init.normal_(torch.zeros(5))
    assert init.normal_(torch.zeros(5)).isfinite().all()
    assert inner.isfinite().all()


def test_threads_do_not_share_what_keys_are_drawn_into() -> None:
    seen = list[int]()

    def draw() -> None:
        init.normal_(torch.zeros(3))
        seen.append(id(fills._scratch.draw))
        barrier.wait()

    barrier = threading.Barrier(3)
    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 3
