"""The batch of `goodinit check`: drawn in a given shape, or read from a file."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodinit.errors import ArgumentError, CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["drawn_batch", "read_batch", "read_shape"]


def read_shape(text: str) -> tuple[int, ...]:
    """Return the shape that a text such as ``64,3,32,32`` (or ``64x3x32x32``) stands for.

    Raises:
        ArgumentError: if it is no list of positive whole numbers.

    >>> read_shape("64,3,32,32")
    (64, 3, 32, 32)
    """
    parts = re.split(r"[,x]", text.replace(" ", "").strip("()"))
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ArgumentError(
            f"--batch-shape {text!r}: expected positive whole numbers, batch size first, such as 64,3,32,32"
        )
    return tuple(int(part) for part in parts)


def drawn_batch(shape: tuple[int, ...], model: nn.Module, seed: int) -> torch.Tensor:
    """Return a batch of that shape: token ids if the model's first layer is an embedding, else N(0, 1).

    Args:
        shape: batch size first.
        model: gives the dtype and the number of ids.
        seed: of the draws.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed % 2**63)
    first = next((m for m in model.modules() if any(p is not None for p in m._parameters.values())), None)
    if isinstance(first, nn.Embedding | nn.EmbeddingBag):
        return torch.randint(0, first.num_embeddings, shape, generator=generator)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return torch.randn(shape, generator=generator).to(dtype)


def read_batch(path: Path) -> Any:
    """Return what a file holds as arguments for a model.

    A safetensors file with one tensor is that tensor, with several it is keyword
    arguments by their names. A torch file may hold a tensor, a tuple or a dict.

    Raises:
        CheckpointError: if it cannot be read, or holds no tensor.
    """
    if path.suffix != ".safetensors":
        return _torch_batch(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"--batch {path}: no readable safetensors file: {error}") from error
    if not tensors:
        raise CheckpointError(f"--batch {path}: holds no tensor")
    return next(iter(tensors.values())) if len(tensors) == 1 else tensors


def _torch_batch(path: Path) -> Any:
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if isinstance(error, pickle.UnpicklingError):  # torch advises to run what the file holds
            text = ["damaged, or it holds more than tensors"]
        else:
            text = str(error).strip().splitlines()
        raise CheckpointError(
            f"--batch {path}: no readable file of tensors (safetensors, or written by torch.save): "
            f"{text[0] if text else type(error).__name__}"
        ) from error
    items = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    )
    if not any(isinstance(item, torch.Tensor) for item in items):
        raise CheckpointError(f"--batch {path}: holds no tensor, but a {type(value).__name__}")
    return value
