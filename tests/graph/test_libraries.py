"""Models of the transformers library, built from small configurations without a download."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

import pytest
import torch

from goodinit.graph import Graph, trace

transformers = pytest.importorskip("transformers")

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 50,
}
IDS = torch.arange(12).reshape(2, 6)


def text(name: str, **settings: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **settings})
    kind = "ForMaskedLM" if name == "Bert" else "ForCausalLM"
    return getattr(transformers, name + kind)(config).eval(), {"input_ids": IDS}


def gpt2() -> tuple[Any, dict[str, torch.Tensor]]:
    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50, n_positions=16)
    return transformers.GPT2LMHeadModel(config).eval(), {"input_ids": IDS}


def t5() -> tuple[Any, dict[str, torch.Tensor]]:
    config = transformers.T5Config(
        d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=50, feed_forward_proj="gated-gelu"
    )
    model = transformers.T5ForConditionalGeneration(config).eval()
    return model, {"input_ids": IDS, "decoder_input_ids": IDS}


def vit() -> tuple[Any, dict[str, torch.Tensor]]:
    settings = {key: value for key, value in SMALL.items() if key != "vocab_size"}
    config = transformers.ViTConfig(**settings, image_size=16, patch_size=4)
    return transformers.ViTForImageClassification(config).eval(), {"pixel_values": torch.rand(2, 3, 16, 16)}


MODELS: dict[str, Callable[[], tuple[Any, dict[str, torch.Tensor]]]] = {
    "gpt2": gpt2,
    "llama": lambda: text("Llama", num_key_value_heads=2),
    "bert": lambda: text("Bert"),
    "t5": t5,
    "vit": vit,
    "mixtral": lambda: text("Mixtral", num_key_value_heads=2, num_local_experts=4),
    "gpt_neox": lambda: text("GPTNeoX"),
}


def parts(graph: Graph) -> dict[str, int]:
    """How many blocks play each part."""
    counts: dict[str, int] = {}
    for use in graph:
        for part in (use.attention, use.gate, "head" if use.head and use.contracts else ""):
            if part:
                counts[part] = counts.get(part, 0) + 1
    return counts


EXPECTED: dict[str, tuple[dict[str, int], tuple[int, ...]]] = {
    "gpt2": ({"q": 2, "k": 2, "v": 2, "output": 2, "head": 1}, (4,)),
    "llama": ({"q": 2, "k": 2, "v": 2, "output": 2, "gate": 2, "value": 2, "head": 1}, (4,)),
    "bert": ({"q": 2, "k": 2, "v": 2, "output": 2, "head": 1}, (4,)),
    "t5": ({"q": 6, "k": 6, "v": 6, "output": 6, "gate": 4, "value": 4, "head": 1}, (4, 6)),
    "vit": ({"q": 2, "k": 2, "v": 2, "output": 2, "head": 1}, (4,)),
    # Router and gate projection gate; up and down projections are values.
    "mixtral": ({"q": 2, "k": 2, "v": 2, "output": 2, "gate": 4, "value": 4, "head": 1}, (4,)),
    "gpt_neox": ({"q": 2, "k": 2, "v": 2, "output": 2, "head": 1}, (2,)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_part_of_a_library_model_is_found(name: str) -> None:
    model, example = MODELS[name]()
    graph = trace(model, example)
    assert graph.ran == "fake"
    assert parts(graph) == EXPECTED[name][0]
    assert graph.streams == EXPECTED[name][1]
    assert set(graph.unreached) <= {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}


def test_transposed_linears_of_gpt2_have_their_inputs_first() -> None:
    model, example = gpt2()
    graph = trace(model, example)
    q, k, v = graph["transformer.h.0.attn.c_attn.weight"]
    assert [(u.fan_in, u.fan_out) for u in (q, k, v)] == [(32.0, 32.0)] * 3
    assert (q.contracted, q.output) == ((0,), (1,))
    up = graph["transformer.h.0.mlp.c_fc.weight"][0]
    assert (up.fan_in, up.fan_out) == (32.0, 128.0)
    assert up.sink.activation is not None
    assert up.sink.activation.name == "gelu_tanh"
    assert {u.op for u in graph["transformer.wte.weight"]} == {"embedding", "matmul"}


def test_stacked_experts_have_the_fans_of_one() -> None:
    model, example = MODELS["mixtral"]()
    gate, up = trace(model, example)["model.layers.0.mlp.experts.gate_up_proj"]
    assert (gate.fan_in, gate.fan_out, gate.batch, gate.gate) == (32.0, 48.0, (0,), "gate")
    assert (up.fan_in, up.fan_out, up.gate) == (32.0, 48.0, "value")


def test_seventy_billion_parameters_take_no_memory() -> None:
    config = transformers.LlamaConfig(
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        vocab_size=128256,
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    graph = trace(model, {"input_ids": torch.zeros(1, 16, dtype=torch.long)})
    # Kilobytes on Linux; the weights alone would be 280 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000
    assert sum(p.numel() for p in model.parameters()) > 70e9
    assert graph.unreached == ()
    assert graph.streams == (160,)
    down = graph["model.layers.79.mlp.down_proj.weight"][0]
    assert down.residual is not None
    assert (down.fan_in, down.fan_out, down.residual.position) == (28672.0, 8192.0, 160)


def test_a_thousand_layers_in_one_chain() -> None:
    layers: list[torch.nn.Module] = []
    with torch.device("meta"):
        for _ in range(1000):
            layers += [torch.nn.Linear(8, 8), torch.nn.Tanh()]
        model = torch.nn.Sequential(*layers)
    graph = trace(model, torch.rand(2, 8))
    assert graph.depth == 1000
    assert len(graph.order) == 2000
