"""Weights in safetensors files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import torch
from torch import nn

from goodinit.errors import CheckpointError
from goodinit.files import beside
from goodinit.graph import places

__all__ = ["load_weights", "save_weights"]


def save_weights(model: nn.Module, path: str | Path, *, about: dict[str, str] | None = None) -> Path:
    """Write a model's parameters and buffers as one safetensors file and return its path.

    A tied weight is stored once, under its first registered name; the other names
    stand in the file's metadata (``"aliases"``, JSON). An existing file is replaced
    only once the new one is whole.

    Args:
        model: the model; nothing of it may be on the meta device.
        path: the file, ``*.safetensors``.
        about: more metadata, such as the seed and the recipe.

    Raises:
        CheckpointError: if a tensor has no values, or the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    found = places(model)
    aliases = {alias: place.name for place in found for alias in place.aliases}
    tensors: dict[str, torch.Tensor] = {place.name: place.parameter.detach() for place in found}
    for name, buffer in _buffers(model):
        tensors.setdefault(name, buffer)
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise CheckpointError(f"{name} is on the meta device and has no values: apply the plan first")
    tensors = _apart(tensors)
    metadata = {"format": "pt", "aliases": json.dumps(aliases), **(about or {})}
    try:
        with beside(path) as part:
            save_file(tensors, part, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    return Path(path)


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return contiguous tensors on the CPU, copied only where they share memory, as the format demands."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        flat = tensor.cpu().contiguous()
        memory = flat.untyped_storage()
        if memory.data_ptr() in seen or memory.nbytes() != flat.numel() * flat.element_size():
            flat = flat.clone()
        seen.add(flat.untyped_storage().data_ptr())
        apart[name] = flat
    return apart


def _buffers(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    from goodinit.graph.places import canonical_modules

    return [
        (f"{name}.{local}" if name else local, buffer)
        for name, module, _ in canonical_modules(model)
        for local, buffer in module._buffers.items()
        if buffer is not None and local not in module._non_persistent_buffers_set
    ]


def load_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file, or a torch file of tensors, as a state dict.

    Tied names that `save_weights` left out are filled in from the metadata.

    Raises:
        CheckpointError: if the file cannot be read; the message names it and the cause.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"no file {file}")
    if file.suffix in (".pt", ".pth", ".bin"):
        return _load_torch(file)
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
            noted = (opened.metadata() or {}).get("aliases", "{}")
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file} is no readable safetensors file: {error}") from error
    try:
        aliases = json.loads(noted)
    except (ValueError, RecursionError):
        aliases = None
    # Another program's metadata of that name may mean something else.
    named = aliases.items() if isinstance(aliases, dict) else ()
    twins = {alias: tensors[first] for alias, first in named if isinstance(first, str) and first in tensors}
    return {**tensors, **twins}


def _load_torch(file: Path) -> dict[str, torch.Tensor]:
    try:
        value = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text runs over many lines and advises to load code from the file.
        raise CheckpointError(f"{file} is damaged, or holds more than tensors") from error
    except Exception as error:  # torch raises half a dozen other kinds for a broken file
        raise CheckpointError(f"{file} is no readable torch file of tensors: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(item, torch.Tensor) for item in value.values()):
        raise CheckpointError(f"{file} holds no state dict ({{name: tensor}})")
    return value
