"""The drop-in on a GPU: the device's own generator gives the key, the values are those of the CPU."""

from __future__ import annotations

import pytest
import torch

from goodinit import init

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "kaiming_normal_", "orthogonal_"])
def test_a_gpu_tensor_takes_its_key_from_the_gpu_generator(name: str) -> None:
    fill = getattr(init, name)
    torch.manual_seed(3)
    cpu_state = torch.get_rng_state()
    first, second = (fill(torch.empty(8, 6, device="cuda")) for _ in range(2))
    assert first.is_cuda
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), cpu_state)
    torch.cuda.manual_seed(3)
    assert torch.equal(fill(torch.empty(8, 6, device="cuda")), first)
    given = torch.Generator("cuda").manual_seed(3)
    assert torch.equal(fill(torch.empty(8, 6, device="cuda"), generator=given), first)


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "orthogonal_"])
def test_a_generator_of_another_device_is_refused_as_by_torch(name: str) -> None:
    for device, other in (("cuda", "cpu"), ("cpu", "cuda")):
        words = []
        for module in (init, torch.nn.init):
            with pytest.raises(RuntimeError, match="generator") as caught:
                getattr(module, name)(torch.empty(3, 3, device=device), generator=torch.Generator(other))
            words.append(str(caught.value))
        assert words[0] == words[1]
