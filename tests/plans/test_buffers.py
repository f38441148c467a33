"""Buffers on the meta device get the values that their model gives them, or are an error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit import initialize
from goodinit.errors import TensorError


class Rotary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", 1.0 / 100.0 ** torch.linspace(0, 1, 4), persistent=False)
        self.register_buffer("mask", torch.tensor([True, False]))


class Model(nn.Module):
    """Sets its buffers as the classes of transformers do."""

    def __init__(self, *, sets: tuple[str, ...] = ("frequencies", "mask")) -> None:
        super().__init__()
        self.sets = sets
        self.inner = nn.Sequential(nn.Linear(3, 3), Rotary())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner[0](x)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Rotary):
            if "frequencies" in self.sets:
                module.frequencies.copy_(1.0 / 100.0 ** torch.linspace(0, 1, 4))
            if "mask" in self.sets:
                module.mask.copy_(torch.tensor([True, False]))
            if "raise" in self.sets:
                raise RuntimeError("not ready")


def on_meta(**arguments: tuple[str, ...]) -> Model:
    with torch.device("meta"):
        return Model(**arguments)


def test_what_the_model_sets_is_what_a_real_model_has() -> None:
    real, meta = Model(), on_meta()
    state = torch.get_rng_state()
    initialize(real, seed=1)
    initialize(meta, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    for name, buffer in real.named_buffers():
        assert torch.equal(meta.get_buffer(name), buffer)
    assert meta.inner[1]._non_persistent_buffers_set == {"frequencies"}
    assert torch.equal(meta.inner[0].weight, real.inner[0].weight)


@pytest.mark.parametrize("sets", [(), ("mask",), ("frequencies",), ("frequencies", "mask", "raise")])
def test_a_buffer_that_the_model_does_not_set_is_an_error_before_anything_is_made(
    sets: tuple[str, ...],
) -> None:
    model = on_meta(sets=sets)
    missing = "mask" if sets == ("frequencies",) else r"inner\.1\.frequencies"
    with pytest.raises(TensorError, match=missing):
        initialize(model)
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_real_parameters_are_never_lent_to_the_models_code() -> None:
    model = on_meta()
    model.inner[1].scale = nn.Parameter(torch.ones(2))
    with pytest.raises(TensorError, match="values that only their model knows"):
        initialize(model, overrides={"inner.1.scale": "keep"})
    assert torch.equal(model.inner[1].scale.detach(), torch.ones(2))


def test_a_llama_of_transformers_is_made_from_meta() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    real = transformers.LlamaForCausalLM(config)
    with torch.device("meta"):
        meta = transformers.LlamaForCausalLM(config)
    initialize(real, seed=3)
    initialize(meta, seed=3)
    for (name, a), (_, b) in zip(real.named_parameters(), meta.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert [name for name, _ in meta.named_buffers()]
    for (name, a), (_, b) in zip(real.named_buffers(), meta.named_buffers(), strict=True):
        assert torch.equal(a, b), name
    ids = torch.arange(6)[None]
    assert torch.equal(real(ids).logits, meta(ids).logits)
