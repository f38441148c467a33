"""Inputs for a model, written on the command line: shapes to draw, and files.

    [NAME=][TYPE:]SHAPE[<N]     64x3x32x32, int:8x128<50257, mask=bool:8x128
    [NAME=]FILE                 .safetensors, or what torch.save wrote

Several without names are arguments in their order, several with names are keyword arguments.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodinit.errors import ArgumentError, CheckpointError, did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Input", "drawn", "read_inputs"]

_FORMS = (
    "write a shape, such as 64x3x32x32 or 'int:8x128<50257', or a file, either one with NAME= before it "
    "for a keyword argument"
)
_INTEGERS = {"int": "int64", "int64": "int64", "int32": "int32"}
_FLOATS = {name: name for name in ("float32", "float64", "bfloat16", "float16")}
_FILES = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Input:
    """One input as it was written.

    Attributes:
        name: the keyword, None for an argument by position.
        shape: what to draw; None where `value` holds what a file held.
        dtype: torch's name of the type; None takes what suits the model.
        below: integers are drawn from 0 to this, exclusive; None takes the size of the model's table.
        value: a file's tensor, tuple or dict.
        text: what the user wrote, for messages.
    """

    name: str | None
    shape: tuple[int, ...] | None
    dtype: str | None
    below: int | None
    value: Any
    text: str


def read_inputs(option: str, texts: Sequence[str]) -> tuple[Input, ...]:
    """Return what the texts of an option stand for; files are read, nothing is drawn yet.

    Args:
        option: the option's name, for messages.
        texts: its values, in order.

    Raises:
        ArgumentError: if a text is neither a shape nor a file, or they do not go together.
        CheckpointError: if a file cannot be read, or holds no tensor.

    >>> read_inputs("--example", ["int:8x128<50257"])[0].shape
    (8, 128)
    """
    found = tuple(_one(option, text) for text in texts)
    names = [each.name for each in found if each.name is not None]
    if names and len(names) < len(found):
        raise ArgumentError(f"{option}: give every input a name (NAME=...), or none")
    if len(set(names)) < len(names):
        raise ArgumentError(f"{option}: the name {max(names, key=names.count)!r} is given twice")
    for each in found:
        if each.shape is None and (names or len(found) > 1) and not hasattr(each.value, "dtype"):
            raise ArgumentError(
                f"{option} {each.text}: holds several tensors, so it must be the only input and have no name"
            )
    return found


def _one(option: str, text: str) -> Input:
    named = re.match(r"([A-Za-z_]\w*)=", text)
    name, rest = (named[1], text[named.end() :]) if named else (None, text)
    path = Path(rest)
    if rest and (path.suffix in _FILES or path.is_file()):
        if not path.is_file():
            raise ArgumentError(f"{option} {text!r}: there is no file {rest}")
        return Input(name, None, None, None, _read(option, path), text)
    parts = re.fullmatch(r"(?:(\w+):)?([^:<]*)(?:<(\d+))?", rest.replace(" ", ""))
    if parts is None:
        raise ArgumentError(f"{option} {text!r}: {_FORMS}")
    kind, sizes, below = parts.groups()
    dims = re.split(r"[,x]", sizes.strip("()"))
    if not all(dim.isascii() and dim.isdigit() and int(dim) > 0 for dim in dims):
        raise ArgumentError(f"{option} {text!r}: expected positive whole numbers, batch size first; {_FORMS}")
    dtype = _dtype(option, text, kind)
    if below is not None and (int(below) < 1 or (kind is not None and dtype not in _INTEGERS.values())):
        raise ArgumentError(f"{option} {text!r}: <N bounds integers and is at least 1, as in int:8x128<50257")
    if below is not None and dtype is None:
        dtype = "int64"
    return Input(name, tuple(map(int, dims)), dtype, int(below) if below else None, None, text)


def _dtype(option: str, text: str, kind: str | None) -> str | None:
    if kind is None or kind == "float":
        return "float" if kind else None
    known = {**_INTEGERS, **_FLOATS, "bool": "bool"}
    if kind not in known:
        raise ArgumentError(
            f"{option} {text!r}: no type {kind!r}{did_you_mean(kind, ['float', *known])}; "
            f"there are float (the model's own), {', '.join(known)}"
        )
    return known[kind]


def drawn(option: str, inputs: Sequence[Input], model: nn.Module, seed: int) -> Any:
    """Return the inputs as a model takes them: a tensor, a tuple, a dict, or None where there are none.

    Real numbers are drawn from N(0, 1) in the model's type, integers evenly from 0 to N; where no type
    is written, integers if the model's first layer is an embedding. All of a bool is true.

    Args:
        option: the option's name, for messages.
        inputs: from `read_inputs`.
        model: gives the type of real numbers and the number of token ids.
        seed: of the draws.

    Raises:
        ArgumentError: if integers have no bound and the model has no table to take it from.
    """
    import torch

    generator = torch.Generator().manual_seed(seed % 2**63)
    values = [
        each.value if each.shape is None else _tensor(option, each, model, generator) for each in inputs
    ]
    if any(each.name for each in inputs):
        return {each.name: value for each, value in zip(inputs, values, strict=True)}
    return tuple(values) if len(values) > 1 else values[0] if values else None


def _tensor(option: str, wanted: Input, model: nn.Module, generator: torch.Generator) -> torch.Tensor:
    import torch
    from torch import nn

    assert wanted.shape is not None
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    first = next((m for m in model.modules() if any(p is not None for p in m._parameters.values())), None)
    dtype = wanted.dtype or ("int64" if first is not None and first in tables else "float")
    if dtype == "bool":
        return torch.ones(wanted.shape, dtype=torch.bool)
    if dtype in _INTEGERS.values():
        below = wanted.below or min((table.num_embeddings for table in tables), default=None)
        if below is None:
            raise ArgumentError(
                f"{option} {wanted.text!r}: below which number? The model has no embedding to take it from; "
                f"write {wanted.text}<N, such as int:8x128<50257"
            )
        return torch.randint(0, below, wanted.shape, generator=generator, dtype=getattr(torch, dtype))
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    kind: torch.dtype = own if dtype == "float" else getattr(torch, dtype)
    return torch.randn(wanted.shape, generator=generator).to(kind)


def _read(option: str, path: Path) -> Any:
    """Return what a file holds: its tensor if there is one, its tensors by their names, or a tuple."""
    if path.suffix != ".safetensors":
        return _torch_file(option, path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{option} {path}: no readable safetensors file: {error}") from error
    if not tensors:
        raise CheckpointError(f"{option} {path}: holds no tensor")
    return next(iter(tensors.values())) if len(tensors) == 1 else tensors


def _torch_file(option: str, path: Path) -> Any:
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if isinstance(error, pickle.UnpicklingError):  # torch advises to run what the file holds
            text = ["damaged, or it holds more than tensors"]
        else:
            text = str(error).strip().splitlines()
        raise CheckpointError(
            f"{option} {path}: no readable file of tensors (safetensors, or written by torch.save): "
            f"{text[0] if text else type(error).__name__}"
        ) from error
    items = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    )
    if not any(isinstance(item, torch.Tensor) for item in items):
        raise CheckpointError(f"{option} {path}: holds no tensor, but a {type(value).__name__}")
    return value
