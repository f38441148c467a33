"""How `auto` plans the transformers library's architectures at their published sizes, without memory.

Each configuration is built from published sizes under ``torch.device("meta")``, given an
input without values, traced and planned. Nothing is downloaded. Columns:

- seconds: one call of `goodinit.plan`, the trace included (bound 10); cpu: its processor
  time, the fairer figure on a busy machine;
- trace: rows whose parameter the trace saw in use; type: rows that it never reached, so that
  the layer's type or a sibling decides; kept: rows that stay as the author set them; none:
  parameters left uncovered. No override is given;
- ran: whether the trace ran on fake tensors (no memory) or had to run on real ones.

    python benchmarks/transformers_plans.py [NAME ...]
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from _machine import peak_memory, save
from torch import nn

import goodinit
from goodinit.errors import UncoveredError
from goodinit.graph import places, trace
from goodinit.initializers import Keep

SECONDS = 10.0

Batch = dict[str, torch.Tensor]


def ids(*names: str, length: int = 8) -> Callable[[], Batch]:
    """Return a maker of token ids under these names."""
    return lambda: {
        name: torch.zeros(1, length, dtype=torch.long, device="meta") for name in names or ("input_ids",)
    }


def pictures(side: int = 224) -> Callable[[], Batch]:
    """Return a maker of one image."""
    return lambda: {"pixel_values": torch.zeros(1, 3, side, side, device="meta")}


def sound() -> Batch:
    """Return one second of sound and which of its 49 frames are masked, as in pretraining."""
    mask = torch.zeros(1, 49, dtype=torch.bool, device="meta")
    return {"input_values": torch.zeros(1, 16000, device="meta"), "mask_time_indices": mask}


def speech() -> Batch:
    """Return half a minute of spectra and the words so far."""
    return {"input_features": torch.zeros(1, 128, 3000, device="meta"), **ids("decoder_input_ids")()}


def picture_and_text() -> Batch:
    """Return an image and its caption."""
    return {**ids()(), **pictures()()}


PAIR = ids("input_ids", "decoder_input_ids")
CAUSAL, MASKED, TO_TEXT = "AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSeq2SeqLM"
CLASSES = "AutoModelForImageClassification"


@dataclass(frozen=True)
class Published:
    """One published model: its type in transformers, the class to build, sizes and input."""

    kind: str
    build: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    example: Callable[[], Batch] = field(default_factory=ids)

    def model(self) -> nn.Module:
        """Build it without memory."""
        config = transformers.AutoConfig.for_model(self.kind, **self.sizes)
        with torch.device("meta"):
            model: nn.Module = getattr(transformers, self.build).from_config(config)
        return model.eval()


def encoder(width: int, inner: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    """Sizes of one stack of attention blocks."""
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        **more,
    }


def decoder(width: int, inner: int, layers: int, heads: int, groups: int, **more: Any) -> dict[str, Any]:
    """Sizes of a stack whose queries share keys and values in groups."""
    return encoder(width, inner, layers, heads, num_key_value_heads=groups, **more)


def two_sides(width: int, inner: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    """Sizes of an encoder and a decoder of equal depth."""
    sizes: dict[str, Any] = {"d_model": width, **more}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": layers, f"{side}_attention_heads": heads, f"{side}_ffn_dim": inner}
    return sizes


PUBLISHED = {
    "GPT-2 XL": Published("gpt2", CAUSAL, {"n_embd": 1600, "n_layer": 48, "n_head": 25}),
    "Llama 3 70B": Published("llama", CAUSAL, decoder(8192, 28672, 80, 64, 8, vocab_size=128256)),
    "Mistral 7B": Published("mistral", CAUSAL, decoder(4096, 14336, 32, 32, 8)),
    "Mixtral 8x7B": Published("mixtral", CAUSAL, decoder(4096, 14336, 32, 32, 8, num_local_experts=8)),
    "Qwen2 72B": Published("qwen2", CAUSAL, decoder(8192, 29568, 80, 64, 8, vocab_size=152064)),
    "Qwen3 32B": Published("qwen3", CAUSAL, decoder(5120, 25600, 64, 64, 8, head_dim=128, vocab_size=151936)),
    "Gemma 2 27B": Published("gemma2", CAUSAL, decoder(4608, 36864, 46, 32, 16, head_dim=128)),
    "Gemma 3 27B": Published(
        "gemma3_text", CAUSAL, decoder(5376, 21504, 62, 32, 16, head_dim=128, vocab_size=262208)
    ),
    "Phi-3 mini": Published("phi3", CAUSAL, decoder(3072, 8192, 32, 32, 32, vocab_size=32064)),
    "DeepSeek-V3": Published("deepseek_v3", CAUSAL),  # its defaults are the 671B model
    "gpt-oss 120B": Published("gpt_oss", CAUSAL, {"num_hidden_layers": 36, "num_local_experts": 128}),
    "Falcon 40B": Published(
        "falcon",
        CAUSAL,
        {
            "hidden_size": 8192,
            "num_hidden_layers": 60,
            "num_attention_heads": 128,
            "num_kv_heads": 8,
            "new_decoder_architecture": True,
        },
    ),
    "BLOOM 176B": Published(
        "bloom", CAUSAL, {"hidden_size": 14336, "n_layer": 70, "n_head": 112, "vocab_size": 250880}
    ),
    "OPT 66B": Published(
        "opt",
        CAUSAL,
        {
            "hidden_size": 9216,
            "word_embed_proj_dim": 9216,
            "ffn_dim": 36864,
            "num_hidden_layers": 64,
            "num_attention_heads": 72,
        },
    ),
    "GPT-NeoX 20B": Published("gpt_neox", CAUSAL),  # its defaults are the 20B model
    "GPT-J 6B": Published("gptj", CAUSAL),  # its defaults are the 6B model
    "Mamba 2.8B": Published(
        "mamba", CAUSAL, {"hidden_size": 2560, "num_hidden_layers": 64}, ids(length=4)
    ),
    "Mamba-2 2.7B": Published(
        "mamba2",
        CAUSAL,
        {
            "hidden_size": 2560,
            "num_hidden_layers": 64,
            "num_heads": 80,
            "n_groups": 1,
            "vocab_size": 50288,
            "tie_word_embeddings": True,
        },
    ),
    "BERT large": Published("bert", MASKED, encoder(1024, 4096, 24, 16)),
    "RoBERTa large": Published(
        "roberta", MASKED, encoder(1024, 4096, 24, 16, vocab_size=50265, max_position_embeddings=514)
    ),
    "DeBERTa-v2 XXL": Published(
        "deberta-v2",
        MASKED,
        encoder(
            1536,
            6144,
            48,
            24,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=256,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            position_biased_input=False,
            conv_kernel_size=3,
        ),
    ),
    "ELECTRA large": Published("electra", MASKED, encoder(1024, 4096, 24, 16, embedding_size=1024)),
    "ALBERT XXL": Published("albert", MASKED, encoder(4096, 16384, 12, 64)),
    "DistilBERT": Published("distilbert", MASKED),
    "ModernBERT large": Published("modernbert", MASKED, encoder(1024, 2624, 28, 16)),
    "T5 11B": Published(
        "t5", TO_TEXT, {"d_model": 1024, "d_kv": 128, "d_ff": 65536, "num_layers": 24, "num_heads": 128}, PAIR
    ),
    "Flan-T5 XXL": Published(
        "t5",
        TO_TEXT,
        {
            "d_model": 4096,
            "d_kv": 64,
            "d_ff": 10240,
            "num_layers": 24,
            "num_heads": 64,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        },
        PAIR,
    ),
    "BART large": Published("bart", TO_TEXT, two_sides(1024, 4096, 12, 16), PAIR),
    "PEGASUS large": Published("pegasus", TO_TEXT, two_sides(1024, 4096, 16, 16, vocab_size=96103), PAIR),
    "ViT huge": Published("vit", CLASSES, encoder(1280, 5120, 32, 16, patch_size=14), pictures()),
    "BEiT large": Published(
        "beit",
        CLASSES,
        encoder(1024, 4096, 24, 16, use_relative_position_bias=True, use_mean_pooling=True),
        pictures(),
    ),
    "Swin large": Published(
        "swin",
        CLASSES,
        {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48]},
        pictures(),
    ),
    "ConvNeXt XL": Published(
        "convnext", CLASSES, {"depths": [3, 3, 27, 3], "hidden_sizes": [256, 512, 1024, 2048]}, pictures()
    ),
    "ResNet-152": Published("resnet", CLASSES, {"depths": [3, 8, 36, 3]}, pictures()),
    "SegFormer B5": Published(
        "segformer",
        "AutoModelForSemanticSegmentation",
        {"depths": [3, 6, 40, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
        pictures(512),
    ),
    "CLIP ViT-L/14": Published(
        "clip",
        "AutoModel",
        {
            "projection_dim": 768,
            "text_config": encoder(768, 3072, 12, 12),
            "vision_config": encoder(1024, 4096, 24, 16, patch_size=14),
        },
        picture_and_text,
    ),
    "Whisper large": Published(
        "whisper",
        "AutoModelForSpeechSeq2Seq",
        two_sides(1280, 5120, 32, 20, num_mel_bins=128, vocab_size=51866),
        speech,
    ),
    "wav2vec 2.0 large": Published(
        "wav2vec2",
        "AutoModel",
        encoder(
            1024, 4096, 24, 16, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True
        ),
        sound,
    ),
    "HuBERT XL": Published(
        "hubert",
        "AutoModel",
        encoder(
            1280, 5120, 48, 16, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True
        ),
        sound,
    ),
}  # fmt: skip


def measure(published: Published) -> dict[str, Any]:
    """Plan one model and count how its rows were decided."""
    model = published.model()
    names = {place.name for place in places(model)}
    row: dict[str, Any] = {
        "family": published.kind,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "rows": len(names),
    }
    start, busy = time.perf_counter(), time.process_time()
    try:
        made = goodinit.plan(model, "auto", example=published.example)
    except UncoveredError as error:
        made, row["error"] = None, str(error)
    row |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - busy}
    graph = trace(model, published.example)
    row |= {"ran": graph.ran, "trace": 0, "type": 0, "kept": 0}
    row["uncovered"] = 0 if made is not None else str(row["error"]).count("\n  ")
    for line in made or ():
        kept = isinstance(line.initializer, Keep)
        how = "kept" if kept else "trace" if graph[line.name] else "type"
        row[how] += 1
    return row


def main() -> None:
    """Print the table and keep its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these models, by name")
    chosen = parser.parse_args().names or list(PUBLISHED)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print(
        f"{'model':18} {'type':12} {'parameters':>11} {'seconds':>8} {'cpu':>5} {'rows':>6} {'trace':>6} ",
        end="",
    )
    print(f"{'type':>5} {'kept':>5} {'none':>5}  ran")
    rows = {}
    for name in chosen:
        row = rows[name] = measure(PUBLISHED[name])
        times = f"{row['seconds']:8.1f} {row['cpu_seconds']:5.1f}"
        counts = f"{row['trace']:6} {row['type']:5} {row['kept']:5} {row['uncovered']:5}"
        size = f"{row['parameters'] / 1e9:10.2f}B"
        print(
            f"{name:18} {row['family']:12} {size} {times} {row['rows']:6} {counts}  {row['ran']}", flush=True
        )
    complete = sum(row["uncovered"] == 0 for row in rows.values())
    fast = sum(row["seconds"] < SECONDS for row in rows.values())
    peak = peak_memory() / 2**30
    families = len({row["family"] for row in rows.values()})
    print(f"{complete} of {len(rows)} complete, {fast} under {SECONDS:g} s; {families} families; ", end="")
    print(f"peak memory of the whole run {peak:.2f} GiB")
    if len(chosen) == len(PUBLISHED):
        summary = {"complete": complete, "under_bound": fast, "families": families, "peak_gib": peak}
        save("transformers_plans", {"bound_seconds": SECONDS, "models": rows, **summary})


if __name__ == "__main__":
    main()
