"""Inputs that a model may accept: what the user gave, or made for the layer that data meets first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn

from goodinit.errors import ExampleError
from goodinit.graph.nested import describe

__all__ = ["Example", "given", "in_words", "none_fits", "proposals"]

# Usual image sides, cheap ones first; 28 and 32 are MNIST and CIFAR, 84 Atari, 224 and up ImageNet models.
_SIDES = (32, 28, 64, 16, 8, 48, 96, 128, 224, 84, 256, 299, 384)
_LENGTHS = (64, 128, 32, 256, 512, 1024, 4096, 16000, 16, 8)
# How many of the model's first layers to try, for models that register a head before the trunk.
_LAYERS = 3
# Layers that data often meets first, and how many inputs are tried for one that is not registered first.
_ENTRANCES = (nn.modules.conv._ConvNd, nn.Embedding, nn.EmbeddingBag, nn.RNNBase)
_FEW = 4


@dataclass(frozen=True)
class Example:
    """Arguments for one call of a model, and in words where they came from."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    origin: str

    def words(self) -> str:
        """Return types and shapes of what goes in."""
        return ", ".join(describe(part) for part in (self.args, self.kwargs) if part)

    def named(self) -> Any:
        """Return what goes in, for `tensors` to name its parts as a reader would: one alone has no name."""
        if not self.args:
            return self.kwargs
        return self.args[0] if len(self.args) == 1 and not self.kwargs else (*self.args, self.kwargs)


def given(batch: Any) -> Example:
    """Turn what the user passed into arguments: a tensor, a tuple or list of them, or a dict of keywords."""
    if isinstance(batch, Mapping):
        return Example((), {str(key): value for key, value in batch.items()}, "given")
    if isinstance(batch, list | tuple):
        return Example(tuple(batch), {}, "given")
    return Example((batch,), {}, "given")


def none_fits(
    argument: str, model: nn.Module, tried: Sequence[str], failure: Exception | None
) -> ExampleError:
    """Return the error for a model that accepts nothing that was made for it.

    Args:
        argument: the name under which the user can pass one.
        model: the model.
        tried: the made examples in words.
        failure: what the model said to the first of them.
    """
    attempts = "found no first layer"
    if tried:
        attempts = f"tried {'; '.join(tried[:6])}{' and more' if len(tried) > 6 else ''}"
    reason = f"; the first attempt ended with {in_words(failure)}" if failure is not None else ""
    return ExampleError(
        f"{argument}: could not make one for {type(model).__name__}: {attempts}{reason}. Pass one: "
        f"{argument}=tensor, a tuple of positional arguments, or a dict of keyword arguments"
    )


def in_words(error: Exception | None) -> str:
    """Return an error's type and text on one line, cut to 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def proposals(model: nn.Module, seed: int) -> Iterator[Example]:
    """Yield batches that the model may accept, the likeliest first.

    Real inputs are normal with mean 0 and second moment 1; token ids are uniform over the vocabulary.
    """
    maker = _Maker(model, seed)
    yield from maker.pretrained(model)
    yield from maker.root(model)
    layers = [(name, module) for name, module in model.named_modules() if _first_kind(module)]
    for name, module in layers[:_LAYERS]:
        yield from maker.layer(name, module)
    # Data may meet a layer that is registered late, such as the stem behind a list of heads.
    kinds = {type(module) for _, module in layers[:_LAYERS]}
    for name, module in layers[_LAYERS:]:
        if type(module) not in kinds and isinstance(module, _ENTRANCES):
            kinds.add(type(module))
            yield from islice(maker.layer(name, module), _FEW)


def _first_kind(module: nn.Module) -> bool:
    own = any(p is not None for p in module._parameters.values())
    return own or "parametrizations" in module._modules


class _Maker:
    """Draws tensors of the model's dtype on its device from one private generator."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        self.dtype, self.device = first.dtype, first.device
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator).to(self.device, self.dtype)

    def picture(self, batch: int, channels: int, *sides: int) -> torch.Tensor:
        """Return normal values in equal parts common to an image, to its coarse patches and to single pixels.

        White noise would make all images alike to any network that averages over
        positions; the spectrum of natural images falls with frequency.
        """
        total = torch.zeros(batch, channels, *sides)
        for grid in (tuple(1 for _ in sides), tuple(min(4, side) for side in sides), sides):
            part = torch.randn(batch, channels, *grid, generator=self.generator)
            total += nn.functional.interpolate(part, size=sides, mode="nearest")
        return (total / 3**0.5).to(self.device, self.dtype)

    def ids(self, count: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, max(count, 1), shape, generator=self.generator).to(self.device)

    def sequence(self, batch: int, time: int, size: int, batch_first: bool) -> torch.Tensor:
        return self.normal(batch, time, size) if batch_first else self.normal(time, batch, size)

    def pretrained(self, model: nn.Module) -> Iterator[Example]:
        """Models of the transformers library, known by their attributes alone."""
        config, main = getattr(model, "config", None), getattr(model, "main_input_name", None)
        if config is None or not isinstance(main, str):
            return
        kwargs: dict[str, Any] = {}
        if main == "input_ids" and isinstance(vocab := getattr(config, "vocab_size", None), int):
            positions = getattr(config, "max_position_embeddings", None)
            time = min(32, positions) if isinstance(positions, int) and positions > 0 else 32
            kwargs["input_ids"] = self.ids(vocab, 8, time)
            if getattr(config, "is_encoder_decoder", False):
                kwargs["decoder_input_ids"] = self.ids(vocab, 8, time)
        elif main == "pixel_values":
            side = getattr(config, "image_size", 224)
            sides = tuple(side) if isinstance(side, list | tuple) else (side, side)
            kwargs["pixel_values"] = self.picture(4, getattr(config, "num_channels", 3), *sides)
        elif main == "input_values":
            kwargs["input_values"] = self.normal(4, 16000)
        if kwargs:
            yield Example((), kwargs, f"made from the configuration of {type(model).__name__}")
        dummy = getattr(model, "dummy_inputs", None)
        if isinstance(dummy, dict) and dummy:
            placed = {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in dummy.items()}
            yield Example((), placed, f"dummy_inputs of {type(model).__name__}")

    def root(self, model: nn.Module) -> Iterator[Example]:
        """Models that are themselves a torch layer with more than one input."""
        origin = f"made for {type(model).__name__}"
        if isinstance(model, nn.MultiheadAttention):
            sizes = (model.embed_dim, model.kdim or model.embed_dim, model.vdim or model.embed_dim)
            first = bool(model.batch_first)
            yield Example(tuple(self.sequence(16, 32, size, first) for size in sizes), {}, origin)
        elif isinstance(model, nn.Transformer | nn.TransformerDecoder | nn.TransformerDecoderLayer):
            attention = next(m for m in model.modules() if isinstance(m, nn.MultiheadAttention))
            size, first = attention.embed_dim, bool(attention.batch_first)
            pair = (self.sequence(16, 24, size, first), self.sequence(16, 32, size, first))
            yield Example(pair, {}, origin)
        elif isinstance(model, nn.Bilinear):
            yield Example(
                (self.normal(64, model.in1_features), self.normal(64, model.in2_features)), {}, origin
            )

    def layer(self, name: str, module: nn.Module) -> Iterator[Example]:
        """Batches for one first layer."""
        kind = type(module).__name__.removeprefix("Parametrized")
        origin = f"made for {kind}" + (f" '{name}'" if name else "")
        for tensor in self._tensors(kind, module):
            yield Example((tensor,), {}, origin)

    def _tensors(self, kind: str, module: nn.Module) -> Iterator[torch.Tensor]:
        if isinstance(module, nn.Linear):
            yield self.normal(64, module.in_features)
            yield self.normal(16, 32, module.in_features)
        elif isinstance(module, nn.modules.conv._ConvNd):
            yield from self._images(module.in_channels, len(module.kernel_size))
        elif isinstance(module, nn.EmbeddingBag):
            yield self.ids(module.num_embeddings, 64, 8)
        elif isinstance(module, nn.Embedding):
            for shape in ((32, 32), (32, 16), (32, 8), (64,)):
                yield self.ids(module.num_embeddings, *shape)
        elif isinstance(module, nn.RNNBase):
            yield self.sequence(32, 16, module.input_size, bool(module.batch_first))
        elif isinstance(module, nn.RNNCellBase):
            yield self.normal(64, module.input_size)
        elif isinstance(module, nn.MultiheadAttention):
            yield self.sequence(16, 32, module.embed_dim, bool(module.batch_first))
        elif isinstance(module, nn.modules.batchnorm._NormBase):
            dims = 3 if "3d" in kind else 2 if "2d" in kind else 0
            if dims:
                yield from self._images(module.num_features, dims)
            else:
                yield self.normal(64, module.num_features)
                yield self.normal(32, module.num_features, 32)
        elif isinstance(sizes := getattr(module, "normalized_shape", None), tuple):
            yield self.normal(64, *sizes)
            yield self.normal(16, 32, *sizes)
        elif isinstance(module, nn.GroupNorm):
            yield from self._images(module.num_channels, 2)
            yield self.normal(64, module.num_channels)
        else:
            yield from self._guesses(module)

    def _images(self, channels: int, dims: int) -> Iterator[torch.Tensor]:
        if dims == 1:
            for length in _LENGTHS:
                yield self.picture(32, channels, length)
        for side in _SIDES if dims == 2 else (16, 32, 8, 64) if dims == 3 else ():
            yield self.picture(32 if dims == 2 and side <= 64 else 8, channels, *(side,) * dims)

    def _guesses(self, module: nn.Module) -> Iterator[torch.Tensor]:
        # A raw matrix is used as x @ W or as W x: its first or its last size is the input's.
        sizes: list[int] = []
        for parameter in module._parameters.values():
            if parameter is not None and parameter.ndim >= 1:
                sizes += [parameter.shape[0], parameter.shape[-1]]
        for size in list(dict.fromkeys(sizes))[:4]:
            yield self.normal(64, size)
            yield self.normal(16, 32, size)
