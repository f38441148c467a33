"""What `goodinit.check` costs next to one plain training step of large models: time and peak memory.

ResNet-50, ViT-B/16, BERT-base and GPT-2 small with the default configurations of transformers, drawn,
not loaded, in train mode on a made batch with labels. Every side runs in a process of its own: a step
(forward and backward, the second of two), a check, and a check without predictions. Time is the
processor's; memory is the peak above what the process held before.

Run: python benchmarks/check_cost.py [--models resnet50x8 ...] [--threads 1]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import time
from typing import Any

import torch
from _machine import peak_memory, save
from torch import nn

MODELS = ("resnet50x8", "resnet50x16", "vit_b16x8", "bert_basex8", "gpt2x4")
SIDES = ("step", "check", "check without predictions")


def build(name: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The model in train mode and its batch with labels; the number after the x counts its inputs."""
    import transformers

    torch.manual_seed(0)
    kind, _, count = name.rpartition("x")
    n = int(count)
    images = {"pixel_values": torch.randn(n, 3, 224, 224), "labels": torch.randint(1000, (n,))}
    if kind == "resnet50":
        config = transformers.ResNetConfig(num_labels=1000)
        return transformers.ResNetForImageClassification(config).train(), images
    if kind == "vit_b16":
        return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000)).train(), images
    ids = torch.randint(30000, (n, 128))
    tokens = {"input_ids": ids, "labels": ids}
    if kind == "bert_base":
        return transformers.BertForMaskedLM(transformers.BertConfig()).train(), tokens
    return transformers.GPT2LMHeadModel(transformers.GPT2Config()).train(), tokens


def cost(name: str, side: str) -> tuple[float, int]:
    """Processor seconds and bytes of one run of a side, in this process."""
    import goodinit

    model, batch = build(name)
    before = peak_memory()
    for _ in range(2 if side == "step" else 1):
        start = time.process_time()
        if side == "step":
            model.zero_grad()
            model(**batch).loss.backward()
        else:
            goodinit.check(model, batch, predict=side == "check")
        seconds = time.process_time() - start
    return seconds, peak_memory() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(cost(*options.one)))
        return
    figures: dict[str, Any] = {"transformers": importlib.metadata.version("transformers")}
    for name in options.models:
        found = {}
        for side in SIDES:
            command = [sys.executable, __file__, "--threads", str(options.threads), "--one", name, side]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[side] = json.loads(done.stdout.splitlines()[-1])
        step = found["step"]
        figures[name] = {
            side: {
                "seconds": took,
                "MiB": held / 2**20,
                "time ratio": took / step[0],
                "memory ratio": held / step[1],
            }
            for side, (took, held) in found.items()
        }
        for side, row in figures[name].items():
            words = f"{row['seconds']:8.1f} s {row['MiB']:8.0f} MiB"
            print(
                f"{name:12} {side:26}{words}   ×{row['time ratio']:.2f}  ×{row['memory ratio']:.2f}",
                flush=True,
            )
    print(f"kept in {save('check_cost', figures)}")


if __name__ == "__main__":
    main()
